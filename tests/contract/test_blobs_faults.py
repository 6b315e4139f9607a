"""The object store against servers that misbehave as no real one does on demand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from shared.adapters.blobs import TRIES, Blobs, open_blobs
from shared.errors import StoreError
from shared.settings import S3

pytestmark = pytest.mark.anyio

HARE = SecretStr("hare")
Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def store_that(answer: Answer, *, timeout_s: float = 10.0) -> AsyncIterator[tuple[Blobs, list[bytes]]]:
    """A server that answers every request like this, and the request lines it saw."""
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            seen.append(head.split(b"\r\n")[0])
            await answer(writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings = S3(endpoint=f"http://127.0.0.1:{port}", access_key=HARE, secret_key=HARE, timeout_s=timeout_s)
    async with server, open_blobs(settings) as blobs:
        yield blobs, seen


async def half(writer: asyncio.StreamWriter) -> None:
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\nContent-Type: image/png\r\n\r\n" + b"x" * 1500000
    )
    await writer.drain()


async def busy(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    await writer.drain()


async def never(_: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3600)


async def stall(writer: asyncio.StreamWriter) -> None:
    await half(writer)
    await asyncio.sleep(3600)


def names_in(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()]


async def test_a_body_cut_short_leaves_no_file(tmp_path: Path) -> None:
    async with store_that(half) as (blobs, _):
        with pytest.raises(StoreError) as caught:
            await blobs.fetch("image", tmp_path / "image", max_bytes=3_000_000)

    assert caught.value.retryable
    assert names_in(tmp_path) == []


async def test_a_stream_cut_short_is_an_error() -> None:
    async with store_that(half) as (blobs, _):
        with pytest.raises(StoreError):
            [piece async for piece in blobs.stream("image")]


async def test_a_busy_store_is_asked_a_few_times() -> None:
    async with store_that(busy) as (blobs, seen):
        with pytest.raises(StoreError):
            await blobs.head("image")

    assert len(seen) == TRIES


@pytest.mark.parametrize("silence", [never, stall])
async def test_a_silent_store_is_given_up(tmp_path: Path, silence: Answer) -> None:
    async with store_that(silence, timeout_s=0.6) as (blobs, _):
        with pytest.raises(StoreError):
            await blobs.fetch("image", tmp_path / "image", max_bytes=3_000_000)

    assert names_in(tmp_path) == []


async def test_a_fetch_that_is_canceled_leaves_no_file(tmp_path: Path) -> None:
    async with store_that(stall) as (blobs, seen):
        fetch = asyncio.create_task(blobs.fetch("image", tmp_path / "image", max_bytes=3_000_000))
        while "image.part" not in names_in(tmp_path):
            await asyncio.sleep(0)
        fetch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetch

    assert len(seen) == 1
    assert names_in(tmp_path) == []


async def test_a_disk_that_refuses_is_said(tmp_path: Path) -> None:
    async with store_that(half) as (blobs, _):
        with pytest.raises(StoreError, match="No such file"):
            await blobs.fetch("image", tmp_path / "missing" / "image", max_bytes=3_000_000)


async def test_nobody_there_is_an_error() -> None:
    async with open_blobs(S3(endpoint="http://127.0.0.1:1", access_key=HARE, secret_key=HARE)) as blobs:
        with pytest.raises(StoreError):
            await blobs.ping()
