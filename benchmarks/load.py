"""The load: keep-alive HTTP connections written for this, so that the client is not what is measured.

Closed loop: each client sends its next request when the answer to the last one is there. No business of
either side may enter; a side says what a request is and which answer is right.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from benchmarks.figures import Spread, spread_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

HOST = "127.0.0.1"
ANSWER_S = 60
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class UnexpectedAnswerError(Exception):
    """An answer other than the one that was wanted: the figures would mean nothing."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Request:
    """Bytes ready to send, and the status that counts as success."""

    raw: bytes
    wanted: int


@dataclass(frozen=True, slots=True)
class LoadResult:
    """One closed-loop run.

    Attributes:
        rate: Right answers per second.
        latency: In seconds.
        client_cpu: Share of one core that the client itself took, 0 … 1.
    """

    rate: float
    latency: Spread
    client_cpu: float


def request(
    method: str, path: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None, wanted: int
) -> Request:
    """Write a request once, to be sent many times."""
    fields = {"Host": HOST, "Content-Type": "application/json", **(headers or {})}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""])
    return Request(head.encode() + body, wanted)


class Connection(asyncio.Protocol):
    """One keep-alive connection, one request at a time."""

    def __init__(self) -> None:
        self._received = b""
        self._answered: asyncio.Future[Answer] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(exc or ConnectionError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        self._received += data
        answer = _parse(self._received)
        if answer is not None and self._answered is not None:
            self._received = b""
            if not self._answered.done():  # the one who asked may have been cancelled
                self._answered.set_result(answer)

    async def exchange(self, wanted: Request) -> Answer:
        """Send a request, wait for its answer.

        Raises:
            UnexpectedAnswerError: Its status is not the wanted one.
            OSError: The connection broke.
        """
        assert self._transport is not None
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(wanted.raw)
        answer = await self._answered
        if answer.status != wanted.wanted:
            raise UnexpectedAnswerError(f"{answer.status} instead of {wanted.wanted}: {answer.body[:300]!r}")
        return answer

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()


def _parse(received: bytes) -> Answer | None:
    """The answer, once it is complete; both sides send a Content-Length."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    length = _LENGTH.search(received, 0, end)
    if length is None:
        raise UnexpectedAnswerError(f"an answer without Content-Length: {received[:end]!r}")
    body = received[end + 4 :]
    return Answer(int(received[9:12]), body) if len(body) >= int(length[1]) else None


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    """A connection to a server's address."""
    port = urlsplit(url).port
    assert port is not None
    _, connection = await asyncio.get_running_loop().create_connection(Connection, HOST, port)
    try:
        yield connection
    finally:
        connection.close()


async def run_for(url: str, wanted: Request, *, clients: int, seconds: float) -> LoadResult:
    """Load a server for a time."""
    until = time.perf_counter() + seconds
    return await _run(url, wanted, clients, lambda _: time.perf_counter() < until)


async def run_count(url: str, wanted: Request, *, clients: int, count: int) -> list[bytes]:
    """Send exactly so many requests; returns the bodies of the answers."""
    bodies: list[bytes] = []
    left = iter(range(count))
    await _run(url, wanted, clients, lambda _: next(left, None) is not None, keep=bodies.append)
    return bodies


async def _run(
    url: str,
    wanted: Request,
    clients: int,
    go_on: Callable[[int], bool],
    keep: Callable[[bytes], None] = lambda _: None,
) -> LoadResult:
    latencies: list[float] = []
    began, cpu = time.perf_counter(), time.process_time()

    async def client(number: int) -> None:
        async with connected(url) as connection:
            while go_on(number):
                sent = time.perf_counter()
                async with asyncio.timeout(ANSWER_S):
                    answer = await connection.exchange(wanted)
                latencies.append(time.perf_counter() - sent)
                keep(answer.body)

    async with asyncio.TaskGroup() as group:
        for number in range(clients):
            group.create_task(client(number))
    took = time.perf_counter() - began
    return LoadResult(len(latencies) / took, spread_of(latencies), (time.process_time() - cpu) / took)
