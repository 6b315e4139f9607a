"""An https server that answers as it is told, byte by byte, and knows who came."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]
CHUNKED = "Transfer-Encoding: chunked"


@dataclass(slots=True)
class Website:
    """A server under test.

    Attributes:
        answer: Writes what is answered to a request.
        port: Where it listens.
        visits: How many connections came about; without TLS, how many were opened.
        heads: The requests it read.
    """

    answer: Answer
    port: int = 0
    visits: int = 0
    heads: list[bytes] = field(default_factory=list)
    _serving: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.visits += 1
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        await asyncio.wait({task})

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            await self.answer(writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def end(self) -> None:
        """Leave whoever is still being served."""
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)


@asynccontextmanager
async def website(
    answer: Answer, tls: ssl.SSLContext | None, *, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[Website]:
    """Serve with this answer to every request; without TLS nothing is answered to who speaks it."""
    site = Website(answer)
    server = await asyncio.start_server(site.serve, host, port, ssl=tls)
    site.port = server.sockets[0].getsockname()[1]
    try:
        yield site
    finally:
        server.close()
        await site.end()


def writes(text: bytes) -> Answer:
    """Just these bytes, and then the end."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(text)
        await writer.drain()

    return answer


def says(status: str, *headers: str, body: bytes = b"") -> Answer:
    """An answer of this status line, these headers and this body; nothing is added."""
    return writes("\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode() + body)


def sends(body: bytes) -> Answer:
    """A file, as servers send it."""
    return says("200 OK", f"Content-Length: {len(body)}", "Content-Type: image/png", body=body)


async def never(_: asyncio.StreamWriter) -> None:
    """No answer at all."""
    await asyncio.sleep(3600)


async def pours(writer: asyncio.StreamWriter) -> None:
    """A body without end, until nobody takes it any more."""
    writer.write(f"HTTP/1.1 200 OK\r\n{CHUNKED}\r\n\r\n".encode())
    while not writer.transport.is_closing():
        writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        await writer.drain()
        await asyncio.sleep(0)  # the loop learns of a peer that has gone only when it gets a turn
