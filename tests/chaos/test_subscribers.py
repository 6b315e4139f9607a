"""A follower that is refused says so, and goes on asking. Against a server that refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest
from websockets.asyncio.server import ServerConnection, serve

from tests.chaos.subscribers import Subscribers
from tests.chaos.testimony import Testimony

pytestmark = pytest.mark.anyio
PATIENCE_S = 20
HOST = "127.0.0.1"


class Always(Random):
    """Every choice falls on the same kind of follower."""

    def __init__(self, *, by_socket: bool) -> None:
        super().__init__(1)
        self._by_socket = by_socket

    def random(self) -> float:
        """0.5: none is restless (at a share of 0), and by WebSocket is what is below 0.6."""
        return 0.5 if self._by_socket else 0.7

    def uniform(self, a: float, b: float) -> float:
        """No pause."""
        del b
        return a / 100


@asynccontextmanager
async def answers_with(status: int) -> AsyncIterator[tuple[str, asyncio.Semaphore]]:
    """Every request is answered so; its URL, and what counts the requests."""
    asked = asyncio.Semaphore(0)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status)
        writer.close()
        asked.release()

    server = await asyncio.start_server(answer, HOST, 0)
    try:
        yield f"http://{HOST}:{server.sockets[0].getsockname()[1]}", asked
    finally:
        server.close()
        await server.wait_closed()


async def follow_until(asked: asyncio.Semaphore, url: str, *, by_socket: bool, times: int = 3) -> Testimony:
    """Follow a job there until the server was asked so often."""
    seen = Testimony()
    subscribers = Subscribers([url], "key", seen, Always(by_socket=by_socket), restless=0)
    subscribers.follow("job-1")
    try:
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(times):
                await asked.acquire()
    finally:
        await subscribers.close()
    return seen


@pytest.mark.parametrize(("by_socket", "asked_for"), [(True, "socket"), (False, "event stream")])
@pytest.mark.parametrize("status", [404, 500, 403])
async def test_a_refusal_is_written_down_and_asked_again(
    *, status: int, by_socket: bool, asked_for: str
) -> None:
    async with answers_with(status) as (url, asked):
        seen = await follow_until(asked, url, by_socket=by_socket)
    assert seen.unexpected[f"{asked_for}: {status}"] >= 2
    assert seen.subscriptions[0].connected == 0


@pytest.mark.parametrize("by_socket", [True, False])
async def test_that_a_server_is_away_is_no_surprise(*, by_socket: bool) -> None:
    async with answers_with(503) as (url, asked):
        seen = await follow_until(asked, url, by_socket=by_socket)
    assert not seen.unexpected


@pytest.mark.parametrize(
    ("code", "noticed"), [(1000, True), (1008, True), (1011, True), (1012, False), (1013, False)]
)
async def test_a_socket_that_is_closed_too_early_is_written_down(code: int, *, noticed: bool) -> None:
    asked = asyncio.Semaphore(0)

    async def let_in_and_go(socket: ServerConnection) -> None:
        await socket.close(code, "enough")
        asked.release()

    async with serve(let_in_and_go, HOST, 0) as server:
        url = f"http://{HOST}:{next(iter(server.sockets)).getsockname()[1]}"
        seen = await follow_until(asked, url, by_socket=True)
    assert bool(seen.unexpected[f"socket closed: {code} enough"]) is noticed
