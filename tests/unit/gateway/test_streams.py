"""What a stream leaves behind when it ends from both sides at once."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fastapi.sse import KEEPALIVE_COMMENT
from starlette.websockets import WebSocketDisconnect

from gateway.feed import Draining, Stream
from gateway.refusals import Unauthorized
from gateway.routes import sockets, streams

pytestmark = pytest.mark.anyio


async def test_a_drain_while_the_reader_leaves_is_no_unheard_exception() -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    draining = asyncio.Event()

    async def events() -> AsyncIterator[Any]:
        await draining.wait()
        raise Draining
        yield

    # Given somebody who waits for the next event
    pauses = streams._with_pauses(cast("Stream", events()))
    reading = asyncio.ensure_future(anext(cast("Any", pauses)))
    await asyncio.sleep(0.01)
    # When the gateway drains and the reader goes in the same moment
    draining.set()
    await asyncio.sleep(0)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    # Then nothing is left that nobody asked about
    del pauses, reading
    gc.collect()
    await asyncio.sleep(0)
    assert told == []


class GoneSocket:
    """A peer that left just before its event is sent, and whose going was not heard yet."""

    headers: Mapping[str, str] = {}
    query_params: Mapping[str, str] = {}

    def __init__(self, services: object) -> None:
        self.app = SimpleNamespace(state=SimpleNamespace(services=services))

    async def send_text(self, text: str) -> None:
        raise WebSocketDisconnect(1006)

    async def receive(self) -> None:
        await asyncio.Event().wait()


@asynccontextmanager
async def one_event(*_: object) -> AsyncIterator[AsyncIterator[str]]:
    async def events() -> AsyncIterator[str]:
        yield "an event"

    yield events()


async def answer(*_: object) -> Any:
    return SimpleNamespace(tenant="acme")


async def test_a_peer_that_leaves_in_the_middle_of_an_event_is_no_failure() -> None:
    services = SimpleNamespace(
        settings=SimpleNamespace(base_url="http://localhost", origins=[]),
        auth=SimpleNamespace(caller=answer),
        feed=SimpleNamespace(watch=one_event),
        lookup=SimpleNamespace(shown_event=shown),
    )
    job_id = "01900000-0000-7000-8000-000000000000"
    socket = cast("Any", GoneSocket(services))
    code, _ = await sockets.ended(socket, partial(streams._follow, socket, job_id))
    assert code == sockets.DONE


async def test_a_stream_ends_with_its_readers_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "RECHECK_S", 0.0)
    monkeypatch.setattr(streams, "KEEPALIVE_S", 0.01)
    known = [True, True]

    async def caller(_: object) -> None:
        if not known.pop():
            raise Unauthorized("the key was revoked")

    async def silence() -> AsyncIterator[Any]:
        await asyncio.Event().wait()
        yield

    services = cast("Any", SimpleNamespace(auth=SimpleNamespace(caller=caller)))
    reader = streams._Reader(services, cast("Any", SimpleNamespace(headers={})))
    known.insert(0, False)
    frames = streams._frames(cast("Stream", silence()), cast("Any", None), reader)
    told = [frame async for frame in frames]
    assert told[1:] == [KEEPALIVE_COMMENT] * 2


async def shown(*_: object) -> dict[str, str]:
    return {}
