"""A TCP relay that lets a request through and loses the answer to it: what was done is then unknown."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

Loss = Literal["reset", "swallow"]


@dataclass(slots=True)
class Trap:
    """Waits for a request with these bytes in it.

    Attributes:
        needle: What the request says.
        loss: Whether the answer breaks the connection or simply never comes.
        sprung: Answers that were lost.
        left: Requests that may still spring it.
    """

    needle: bytes
    loss: Loss
    sprung: int = 0
    left: int = 1


@dataclass(slots=True, eq=False)
class _Call:
    """A client's connection through the wire."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    trap: Trap | None = None

    def cut(self) -> None:
        self.client.transport.abort()
        self.server.transport.abort()


@dataclass(slots=True)
class Wire:
    """In front of one server.

    Args:
        address: Where it listens.

    Attributes:
        traps: That wait.
        tried: Connections that somebody began to make.
    """

    address: str = "127.0.0.1"
    tried: int = 0
    traps: list[Trap] = field(default_factory=list)
    _calls: set[asyncio.Task[None]] = field(default_factory=set)
    _target: tuple[str, int] = ("", 0)
    _front: asyncio.Server | None = None

    async def open(self, url: str) -> str:
        """Listen; the URL of the same server through this wire."""
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._target = (parts.hostname, parts.port)
        self._front = await asyncio.start_server(self._accept, self.address, 0)
        account, at, _ = parts.netloc.rpartition("@")
        port = self._front.sockets[0].getsockname()[1]
        return urlunsplit(parts._replace(netloc=f"{account}{at}{self.address}:{port}"))

    async def close(self) -> None:
        if self._front is not None:
            self._front.close()
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)

    def lose_answer(self, needle: bytes, loss: Loss = "reset", *, times: int = 1) -> Trap:
        """Lose the answers to the next requests that say this."""
        trap = Trap(needle, loss, left=times)
        self.traps.append(trap)
        return trap

    def calm(self) -> None:
        """Lose nothing any more; what was swallowed stays so."""
        self.traps.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._calls.add(task)
        self.tried += 1
        try:
            await self._relay(reader, writer)
        finally:
            self._calls.discard(task)
            writer.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            return
        call = _Call(writer, far_writer)
        pumps = [
            asyncio.ensure_future(self._requests(reader, call)),
            asyncio.ensure_future(self._answers(far_reader, call)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            call.cut()

    async def _requests(self, reader: asyncio.StreamReader, call: _Call) -> None:
        with suppress(OSError):
            while piece := await reader.read(1 << 18):
                call.trap = call.trap or self._stepped_on(piece)
                call.server.write(piece)
                await call.server.drain()

    def _stepped_on(self, piece: bytes) -> Trap | None:
        for trap in self.traps:
            if trap.left and trap.needle in piece:
                trap.left -= 1
                return trap
        return None

    async def _answers(self, reader: asyncio.StreamReader, call: _Call) -> None:
        with suppress(OSError):
            while piece := await reader.read(1 << 18):
                if call.trap is None:
                    call.client.write(piece)
                    await call.client.drain()
                    continue
                call.trap.sprung += 1
                if call.trap.loss == "reset":
                    return
