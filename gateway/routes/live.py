"""The dashboard's socket: what a page shows, kept up to date."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial

import structlog
from fastapi import APIRouter, WebSocket
from pydantic import ValidationError

from gateway.feed import Draining
from gateway.intake import first_problem
from gateway.live.hub import Hub
from gateway.live.viewer import Viewer, Wish
from gateway.ports import Holder
from gateway.refusals import InvalidRequest
from gateway.routes.sockets import send, serve, until_either
from gateway.schemas import LiveWish
from gateway.services import Services
from shared.events import timestamp

log = structlog.get_logger()
router = APIRouter(tags=["events"])

GAP_S = 0.25
"""Between two frames: a page paints no faster."""
IDLE_S = 3.0
"""A frame comes at least so often, by which a page tells what is quiet from what is gone."""


@router.websocket("/v1/live")
async def live(socket: WebSocket) -> None:
    """What the page asked for, as it changes."""
    await serve(socket, partial(_show, socket), kind="live")


async def _show(socket: WebSocket, services: Services, caller: Holder) -> None:
    viewer = Viewer(caller.tenant, operator=caller.role == "operator")
    with services.hub.watched_by(viewer):
        await until_either(_tell(socket, viewer), _listen(socket, viewer, services.hub))


async def _listen(socket: WebSocket, viewer: Viewer, hub: Hub) -> None:
    """Take what the page asks for; each time it replaces what was asked before."""
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        hub.ask(viewer, _wish(message.get("text") or ""))


def _wish(text: str) -> Wish:
    try:
        said = LiveWish.model_validate_json(text)
    except ValidationError as error:
        raise InvalidRequest([first_problem(error)]) from None
    return Wish(
        topics=frozenset(said.subscribe),
        ids=frozenset(said.ids),
        newest=said.newest,
        all=said.scope == "all",
    )


async def _tell(socket: WebSocket, viewer: Viewer) -> None:
    seq = 0
    await viewer.changed.wait()
    while True:
        if viewer.ended:
            raise Draining
        seq += 1
        await send(socket, {"seq": seq, "at": timestamp(datetime.now(UTC)), **viewer.take()})
        await asyncio.sleep(GAP_S)
        with suppress(TimeoutError):
            async with asyncio.timeout(IDLE_S - GAP_S):
                await viewer.changed.wait()
