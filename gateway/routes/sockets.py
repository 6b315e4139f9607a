"""What the WebSockets have in common: who may open one, how long it may stay, how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import msgspec
from fastapi import WebSocket
from prometheus_client import Gauge
from starlette.websockets import WebSocketDisconnect

from gateway.feed import Draining, TooSlow
from gateway.origins import Origins
from gateway.ports import Holder
from gateway.refusals import InvalidRequest, Unauthorized
from gateway.services import Services
from gateway.settings import Gateway
from shared.errors import NotFound, OutcomeUnknown, Unavailable

SOCKETS = Gauge("leveret_gateway_sockets_open", "Open event streams", ["kind"])
SEND_S = 4.0
"""A peer that takes nothing for so long has stopped reading."""
DONE, DENIED, RESTART, TRY_LATER = 1000, 1008, 1012, 1013
MAX_REASON_BYTES = 120
RECHECK_S = 10.0
BY_TICKET_S = 3600.0

Work = Callable[[Services, Holder], Awaitable[None]]


async def serve(socket: WebSocket, work: Work, *, kind: str) -> None:
    """Accept a socket, find out who opens it, do what it is for, and close it as that ended."""
    await socket.accept()
    with SOCKETS.labels(kind).track_inprogress():
        code, reason = await ended(socket, work)
        await _close(socket, code, reason)


async def ended(socket: WebSocket, work: Work) -> tuple[int, str]:
    """Serve an accepted socket to its end; returns how it is to be closed."""
    services: Services = socket.app.state.services
    try:
        caller = await _admitted(socket, services)
        await until_either(work(services, caller), _until_over(socket, services))
    except (Unauthorized, NotFound, InvalidRequest) as error:
        return DENIED, f"{error.code}: {error}"
    except Draining:
        return RESTART, "this gateway restarts: resume elsewhere"
    except TooSlow:
        return TRY_LATER, "too slow: resume by cursor"
    except (Unavailable, OutcomeUnknown) as error:
        return TRY_LATER, error.code
    except WebSocketDisconnect:  # it left while it was being sent something
        pass
    return DONE, ""


async def send(socket: WebSocket, frame: Any) -> None:
    """Send one frame of JSON.

    Raises:
        TooSlow: The peer did not take it.
    """
    try:
        async with asyncio.timeout(SEND_S):
            await socket.send_text(msgspec.json.encode(frame).decode())
    except TimeoutError:
        raise TooSlow from None


async def until_either(*works: Awaitable[None]) -> None:
    """Do all until one ends; its error is ours."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        over, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in over:
        task.result()


def check_origin(socket: WebSocket, settings: Gateway) -> None:
    """Raise Unauthorized where a page of somebody else opened the socket."""
    if not Origins(settings.base_url, settings.origins).admitted(socket.headers):
        raise Unauthorized("this Origin is not allowed")


async def _admitted(socket: WebSocket, services: Services) -> Holder:
    """Who opens a socket: by a ticket, else by what its headers say.

    Raises:
        Unauthorized: Nobody, or a page of somebody else.
        Unavailable: The store cannot say.
    """
    check_origin(socket, services.settings)
    if ticket := socket.query_params.get("ticket"):
        return await services.tickets.redeem(ticket)
    return await services.auth.caller(socket.headers)


async def _until_over(socket: WebSocket, services: Services) -> None:
    """Raise when the key or session that opened a socket has ended; while nobody can say, it goes on.

    Of a ticket nothing is left to ask about: its socket has an hour.
    """
    if socket.query_params.get("ticket"):
        await asyncio.sleep(BY_TICKET_S)
        raise Draining
    while True:
        await asyncio.sleep(RECHECK_S)
        with suppress(Unavailable):
            await services.auth.caller(socket.headers)


async def _close(socket: WebSocket, code: int, reason: str) -> None:
    """Say goodbye, unless the peer is gone or does not listen."""
    with suppress(TimeoutError, RuntimeError, WebSocketDisconnect):
        async with asyncio.timeout(1):
            await socket.close(code, reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore"))
