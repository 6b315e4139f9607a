"""A job's events as they happen: Server-Sent Events and WebSocket, both resumed by cursor."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
import structlog
from fastapi import APIRouter, Header, Query, Request, Response, WebSocket
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event
from prometheus_client import Gauge
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from gateway.feed import Draining, Stream, StreamEnded, TooSlow
from gateway.lookup import Lookup
from gateway.openapi import TERMINAL_EVENT, answer, documented
from gateway.origins import Origins
from gateway.ports import Holder
from gateway.refusals import InvalidRequest, Unauthorized
from gateway.routes.answers import Json
from gateway.services import Authenticated, JobId, Services, UsedServices, parse_job_id
from gateway.settings import Gateway
from gateway.views import EventsView
from shared.errors import NotFound, OutcomeUnknown, Unavailable
from shared.events import Event, EventType

log = structlog.get_logger()
router = APIRouter(tags=["events"])

SOCKETS = Gauge("leveret_gateway_sockets_open", "Open event streams", ["kind"])
SSE, WEBSOCKET = SOCKETS.labels("sse"), SOCKETS.labels("websocket")
KEEPALIVE_S = 10.0
SEND_S = 4.0
"""A peer that takes nothing for so long has stopped reading."""
RECONNECT_MS = 1000
DONE, DENIED, RESTART, TRY_LATER = 1000, 1008, 1012, 1013
MAX_REASON_BYTES = 120
RECHECK_S = 10.0
BY_TICKET_S = 3600.0
MAX_SEQ = 2**31 - 1
MAX_DIGITS = 32
"""int() refuses texts of thousands of them."""

_SSE = {
    "text/event-stream": {
        "schema": {"type": "string"},
        "example": f"data: {msgspec.json.encode(TERMINAL_EVENT).decode()}\nid: 3\n\n",
    }
}
_EVENTS_ANSWERS = documented(
    {
        200: answer(
            "The history, or a stream that ends with the job", EventsView, {"events": [TERMINAL_EVENT]}
        ),
        204: {"description": "The job has ended and the cursor lies at its end: do not reconnect"},
    },
    "unauthorized",
    "not_found",
    "invalid_request",
    "unavailable",
    "internal_error",
)
_EVENTS_ANSWERS[200]["content"].update(_SSE)


@router.get("/v1/jobs/{job_id}/events", summary="Follow a job", responses=_EVENTS_ANSWERS)
async def events(
    *,
    request: Request,
    services: UsedServices,
    caller: Authenticated,
    job_id: JobId,
    after: Annotated[int, Query(ge=0, le=MAX_SEQ, description="Only what has a higher `seq`")] = 0,
    last_event_id: Annotated[
        str | None, Header(description="As `after`, sent by browsers when they come back")
    ] = None,
) -> Response:
    """The history as JSON; with `Accept: text/event-stream` what is to come as well, until the job ends."""
    after = _cursor(last_event_id, after)
    if "text/event-stream" not in request.headers.get("accept", ""):
        return Json({"events": await services.lookup.events(caller.tenant, job_id, after)})
    async with AsyncExitStack() as watching:
        try:
            stream = await watching.enter_async_context(services.feed.watch(caller.tenant, job_id, after))
        except Draining as error:
            raise Unavailable("this gateway is about to stop; come back at once") from error
        if stream.ended:
            return Response(status_code=HTTPStatus.NO_CONTENT)
        return _EventStream(_frames(stream, services.lookup), watching.pop_all())


def _cursor(last_event_id: str | None, after: int) -> int:
    """What a browser sends back wins; one that we never gave counts as none."""
    if last_event_id is None:
        return after
    known = last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) < len(str(MAX_SEQ))
    return int(last_event_id) if known else 0


class _EventStream(EventSourceResponse):
    """A stream that leaves its watch behind however it ends, and leaves a peer that stopped reading."""

    def __init__(self, frames: AsyncIterator[bytes], watching: AsyncExitStack) -> None:
        super().__init__(frames, headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        self._watching = watching

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(SEND_S):
                await send(message)

        async with self._watching:
            with SSE.track_inprogress():
                try:
                    await super().__call__(scope, receive, send_in_time)
                except TimeoutError:
                    raise ClientDisconnect from None


async def _frames(stream: Stream, lookup: Lookup) -> AsyncIterator[bytes]:
    yield format_sse_event(retry=RECONNECT_MS)
    with suppress(StreamEnded):
        async for event in _with_pauses(stream):
            yield await _frame(event, lookup) if event else KEEPALIVE_COMMENT


async def _frame(event: Event, lookup: Lookup) -> bytes:
    shown = msgspec.json.encode(await lookup.shown_event(event)).decode()
    moves = event.type is not EventType.PROGRESS
    return format_sse_event(data_str=shown, id=str(event.seq) if moves else None)


async def _with_pauses(stream: Stream) -> AsyncIterator[Event | None]:
    """The events, and None whenever there was none for a while: a silent stream is cut by proxies."""
    events = aiter(stream)
    while True:
        upcoming = asyncio.ensure_future(anext(events, None))
        upcoming.add_done_callback(_heard)
        try:
            while not (await asyncio.wait({upcoming}, timeout=KEEPALIVE_S))[0]:
                yield None
        finally:
            if not upcoming.done():
                upcoming.cancel()
        event = upcoming.result()
        if event is None:
            return
        yield event


def _heard(upcoming: asyncio.Future[Event | None]) -> None:
    """The stream may end in the very moment in which its reader leaves: nobody else asks how, then."""
    if not upcoming.cancelled():
        upcoming.exception()


@router.websocket("/v1/jobs/{job_id}/stream")
async def stream(socket: WebSocket, job_id: str) -> None:
    """A job's events after `?after=SEQ`, closed 1000 after the terminal one."""
    await socket.accept()
    with WEBSOCKET.track_inprogress():
        code, reason = await _serve(socket, job_id)
        await close(socket, code, reason)


async def _serve(socket: WebSocket, job_id: str) -> tuple[int, str]:
    """Serve one socket to its end; returns how it is to be closed."""
    services: Services = socket.app.state.services
    try:
        caller = await admitted(socket, services)
        after = _after(socket.query_params.get("after", "0"))
        async with services.feed.watch(caller.tenant, parse_job_id(job_id), after) as stream:
            await until_either(
                _send_all(socket, stream, services.lookup), _gone(socket), until_over(socket, services)
            )
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


async def admitted(socket: WebSocket, services: Services) -> Holder:
    """Who opens a socket: by a ticket, else by what its headers say.

    Raises:
        Unauthorized: Nobody, or a page of somebody else.
        Unavailable: The store cannot say.
    """
    check_origin(socket, services.settings)
    if ticket := socket.query_params.get("ticket"):
        return await services.tickets.redeem(ticket)
    return await services.auth.caller(socket.headers)


async def until_over(socket: WebSocket, services: Services) -> None:
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


def check_origin(socket: WebSocket, settings: Gateway) -> None:
    """Raise Unauthorized where a page of somebody else opened the socket."""
    if not Origins(settings.base_url, settings.origins).admitted(socket.headers):
        raise Unauthorized("this Origin is not allowed")


def _after(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > MAX_DIGITS or int(text) > MAX_SEQ:
        raise InvalidRequest([("after", "must be a seq: 0 or more")])
    return int(text)


async def _send_all(socket: WebSocket, stream: Stream, lookup: Lookup) -> None:
    async for event in stream:
        shown = msgspec.json.encode(await lookup.shown_event(event)).decode()
        try:
            async with asyncio.timeout(SEND_S):
                await socket.send_text(shown)
        except TimeoutError:
            raise TooSlow from None


async def _gone(socket: WebSocket) -> None:
    """Return when the peer is gone; what it says is not asked for."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


async def until_either(*works: Any) -> None:
    """Run both until one ends; its error is ours."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in ended:
        task.result()


async def close(socket: WebSocket, code: int, reason: str) -> None:
    """Say goodbye, unless the peer is gone or does not listen."""
    with suppress(TimeoutError, RuntimeError, WebSocketDisconnect):
        async with asyncio.timeout(1):
            await socket.close(code, reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore"))
