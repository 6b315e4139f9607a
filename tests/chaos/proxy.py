"""A TCP proxy in front of one server, through which the network misbehaves on request.

Knows no protocol but one answer of HTTP (a 500, for S3). Every number it draws comes from the run's seed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

HOST = "127.0.0.1"
_BODY = b"<Error><Code>InternalError</Code><Message>chaos</Message></Error>"
INTERNAL_ERROR = (
    b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/xml\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_BODY), _BODY)
)


@dataclass(slots=True)
class Weather:
    """How the network is at the moment; the default is a fine day.

    Attributes:
        latency_s: Shortest and longest delay of a chunk; chunks never overtake each other.
        refuse: New connections are reset.
        black_hole: Nothing is read from anybody; connections stay open.
        cut_after: Bytes (least, most) after which a connection is reset, in either direction.
        cut_request: The same, counted from the client only.
        error_500: Whoever speaks is answered with an HTTP 500.
    """

    latency_s: tuple[float, float] | None = None
    refuse: bool = False
    black_hole: bool = False
    cut_after: tuple[int, int] | None = None
    cut_request: tuple[int, int] | None = None
    error_500: bool = False


@dataclass(eq=False, slots=True)
class Link:
    """A client's connection and the one to the server that belongs to it."""

    proxy: FaultProxy
    client: _Side = field(init=False)
    server: _Side = field(init=False)
    budget: int | None = None
    request_budget: int | None = None

    def cut(self) -> None:
        """Reset both ends."""
        self.client.abort()
        self.server.abort()

    def half_close(self) -> None:
        """The server says FIN to the client, and means it for nobody else."""
        self.client.finish()

    def spend(self, size: int, *, request: bool) -> int | None:
        """How much of a chunk may still pass; None for all of it."""
        allowed = None
        if self.budget is not None:
            allowed = min(size, self.budget)
            self.budget -= size
        if request and self.request_budget is not None:
            allowed = min(size, self.request_budget, size if allowed is None else allowed)
            self.request_budget -= size
        return None if allowed == size else allowed


class _Side(asyncio.Protocol):
    """One socket of a link; what it reads, the other side writes."""

    def __init__(self, link: Link, *, client: bool) -> None:
        self._link = link
        self._client = client
        self._transport: asyncio.Transport | None = None
        self._early: list[bytes] = []
        self._paused_by_peer = False
        self._slow: asyncio.Queue[bytes | None] | None = None
        self._slow_task: asyncio.Task[None] | None = None
        self._finished = False
        self.ended = False

    @property
    def peer(self) -> _Side:
        return self._link.server if self._client else self._link.client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self._client:
            self._link.proxy.accepted(self._link)
        for chunk in self._early:
            transport.write(chunk)
        self._early.clear()
        if self.peer.ended:
            self.finish()
        self.listen()

    def data_received(self, data: bytes) -> None:
        weather = self._link.proxy.weather
        self._link.proxy.seen(self._client, data)
        if weather.error_500 and self._client:
            self.answer_500()
            return
        allowed = self._link.spend(len(data), request=self._client)
        if allowed is not None:
            self._link.proxy.struck += 1
            self.peer.write(data[: max(allowed, 0)])
            self._link.proxy.later(0.01, self._link.cut)
        elif weather.latency_s is not None or self._slow is not None:
            self._delay(data)
        else:
            self.peer.write(data)

    def eof_received(self) -> bool:
        self.ended = True
        if self._slow is not None:
            self._slow.put_nowait(None)
        else:
            self.peer.finish()
        if self.peer.ended:
            self.peer.close()
        return not self.peer.ended  # half-closed is what TCP offers, and some peers use it

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._transport = None
        if self._slow is not None:
            self._slow.put_nowait(None)
        if self.peer.gone:
            self._link.proxy.forget(self._link)
        else:
            self.peer.close()

    @property
    def gone(self) -> bool:
        return self._transport is None

    def pause_writing(self) -> None:
        self.peer.hold(paused=True)

    def resume_writing(self) -> None:
        self.peer.hold(paused=False)

    def hold(self, *, paused: bool) -> None:
        """The other side cannot take more for now."""
        self._paused_by_peer = paused
        self.listen()

    def listen(self) -> None:
        """Read, unless something stands against it."""
        if self._transport is None or self._transport.is_closing():
            return
        if self._paused_by_peer or self._link.proxy.weather.black_hole:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def write(self, data: bytes) -> None:
        if self._transport is None:
            self._early.append(data)
        elif not (self._finished or self._transport.is_closing()):
            self._transport.write(data)

    def answer_500(self) -> None:
        self._link.proxy.struck += 1
        self.write(INTERNAL_ERROR)
        self.close()

    def finish(self) -> None:
        if (
            self._transport is not None
            and self._transport.can_write_eof()
            and not self._transport.is_closing()
        ):
            self._finished = True
            with suppress(OSError):  # the kernel knows already that the peer is gone
                self._transport.write_eof()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _delay(self, data: bytes) -> None:
        if self._slow is None:
            self._slow = asyncio.Queue()
            self._slow_task = asyncio.ensure_future(self._forward_slowly(self._slow))
        self._slow.put_nowait(data)

    async def _forward_slowly(self, chunks: asyncio.Queue[bytes | None]) -> None:
        while (data := await chunks.get()) is not None:
            if (bounds := self._link.proxy.weather.latency_s) is not None:
                self._link.proxy.struck += 1
                await asyncio.sleep(self._link.proxy.dice.uniform(*bounds))
            self.peer.write(data)
        self.peer.finish()


class FaultProxy:
    """Listens for one server's clients.

    Args:
        name: Of the server.
        port: Where the server really listens.
        dice: Of this proxy alone.

    Attributes:
        weather: Change it through `change` and `calm`.
        struck: Times the weather hit somebody.
    """

    def __init__(self, name: str, port: int, dice: Random) -> None:
        self.name = name
        self.dice = dice
        self.weather = Weather()
        self.struck = 0
        self.port = 0
        self._target = port
        self._links: set[Link] = set()
        self._light = asyncio.Event()
        self._light.set()
        self._server: asyncio.Server | None = None
        self._connecting: set[asyncio.Task[None]] = set()

    async def start(self, port: int) -> None:
        """Take connections on this port."""
        self.port = port
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._new_link, HOST, port, backlog=512)

    async def stop(self) -> None:
        """Cut everybody off and leave."""
        self.calm()
        if self._server is not None:
            self._server.close()
        self.cut_all()
        for task in list(self._connecting):
            task.cancel()
        await asyncio.sleep(0)

    def change(self, weather: Weather) -> None:
        """From now on it is like this, for open connections as well."""
        self.weather = weather
        if weather.black_hole:
            self._light.clear()
        else:
            self._light.set()
        for link in list(self._links):
            self._budget(link)
            link.client.listen()
            link.server.listen()

    def calm(self) -> None:
        """A fine day again; what was cut stays cut."""
        self.change(Weather())

    def cut_all(self) -> int:
        """Reset every connection; says how many."""
        return self._each(Link.cut)

    def half_close_all(self) -> int:
        """Say FIN to every client while the server's side stays open; says how many."""
        return self._each(Link.half_close)

    def _each(self, do: Callable[[Link], None]) -> int:
        links = list(self._links)
        for link in links:
            do(link)
        self.struck += len(links)
        return len(links)

    @property
    def open(self) -> int:
        """Connections."""
        return len(self._links)

    def accepted(self, link: Link) -> None:
        """A client has come."""
        if self.weather.refuse:
            self.struck += 1
            link.client.abort()
            return
        self._links.add(link)
        self._budget(link)
        task = asyncio.ensure_future(self._connect(link))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    def forget(self, link: Link) -> None:
        """Both ends are gone."""
        self._links.discard(link)

    def seen(self, client: bool, data: bytes) -> None:  # noqa: FBT001  one call, on the hot path
        """Count whom the weather meets while nothing passes anyway."""
        if client and data and self.weather.black_hole:
            self.struck += 1

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """After what was written before has left."""
        asyncio.get_running_loop().call_later(seconds, call)

    def _new_link(self) -> _Side:
        link = Link(self)
        link.client, link.server = _Side(link, client=True), _Side(link, client=False)
        return link.client

    def _budget(self, link: Link) -> None:
        bounds, request = self.weather.cut_after, self.weather.cut_request
        link.budget = self.dice.randint(*bounds) if bounds else None
        link.request_budget = self.dice.randint(*request) if request else None

    async def _connect(self, link: Link) -> None:
        """In a black hole not even the first packet gets through."""
        loop = asyncio.get_running_loop()
        await self._light.wait()
        if link.client.gone:
            self.forget(link)
            return
        try:
            await loop.create_connection(lambda: link.server, HOST, self._target)
        except OSError:
            link.client.abort()
            self.forget(link)
            return
        if link.client.gone:
            link.server.abort()
