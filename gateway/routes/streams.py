"""A job's events as they happen: Server-Sent Events and WebSocket, both resumed by cursor."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from functools import partial
from http import HTTPStatus
from typing import Annotated

import msgspec
import structlog
from fastapi import APIRouter, Header, Query, Request, Response, WebSocket
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from gateway.feed import Draining, Stream, StreamEnded
from gateway.lookup import Lookup
from gateway.openapi import TERMINAL_EVENT, answer, documented
from gateway.ports import Holder
from gateway.refusals import InvalidRequest, Unauthorized
from gateway.routes.answers import Json
from gateway.routes.sockets import RECHECK_S, SEND_S, SOCKETS, send, serve, until_either
from gateway.services import Authenticated, JobId, Services, UsedServices, parse_job_id
from gateway.views import EventsView
from shared.errors import Unavailable
from shared.events import Event, EventType

log = structlog.get_logger()
router = APIRouter(tags=["events"])

SSE = SOCKETS.labels("sse")
KEEPALIVE_S = 10.0
RECONNECT_MS = 1000
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
        frames = _frames(stream, services.lookup, _Reader(services, request))
        return _EventStream(frames, watching.pop_all())


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


class _Reader:
    """Who reads a stream: asked again now and then, for a key or a session may end before the job does."""

    def __init__(self, services: Services, request: Request) -> None:
        self._services = services
        self._request = request
        self._due = time.monotonic() + RECHECK_S

    async def may_go_on(self) -> bool:
        """Whether it may still read; while nobody can say, it may."""
        if time.monotonic() < self._due:
            return True
        self._due = time.monotonic() + RECHECK_S
        try:
            await self._services.auth.caller(self._request.headers)
        except Unauthorized:
            return False
        except Unavailable:
            pass
        return True


async def _frames(stream: Stream, lookup: Lookup, reader: _Reader) -> AsyncIterator[bytes]:
    yield format_sse_event(retry=RECONNECT_MS)
    with suppress(StreamEnded):
        async for event in _with_pauses(stream):
            if not await reader.may_go_on():
                return
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
    await serve(socket, partial(_follow, socket, job_id), kind="websocket")


async def _follow(socket: WebSocket, job_id: str, services: Services, caller: Holder) -> None:
    after = _after(socket.query_params.get("after", "0"))
    async with services.feed.watch(caller.tenant, parse_job_id(job_id), after) as stream:
        await until_either(_send_all(socket, stream, services.lookup), _gone(socket))


def _after(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > MAX_DIGITS or int(text) > MAX_SEQ:
        raise InvalidRequest([("after", "must be a seq: 0 or more")])
    return int(text)


async def _send_all(socket: WebSocket, stream: Stream, lookup: Lookup) -> None:
    async for event in stream:
        await send(socket, await lookup.shown_event(event))


async def _gone(socket: WebSocket) -> None:
    """Return when the peer is gone; what it says is not asked for."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass
