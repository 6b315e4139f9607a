"""The proxy itself: no fault that nobody ordered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest

from deploy.local.ports import free_ports
from tests.chaos.proxy import HOST, FaultProxy, Weather

pytestmark = pytest.mark.anyio
PATIENCE_S = 10


@asynccontextmanager
async def a_server_behind_a_proxy() -> AsyncIterator[tuple[FaultProxy, asyncio.Queue[bytes]]]:
    """What the server read from each client, once that client had ended."""
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.put_nowait(await reader.read())
        writer.close()

    behind, before = free_ports(2)
    server = await asyncio.start_server(serve, HOST, behind)
    proxy = FaultProxy("test", behind, Random(1))  # noqa: S311  chaos, not secrets
    await proxy.start(before)
    try:
        yield proxy, heard
    finally:
        await proxy.stop()
        server.close()
        await server.wait_closed()


async def test_who_left_in_a_black_hole_has_left_the_server_too_once_it_heals() -> None:
    """Or every black hole of a run would leave sessions behind, until the server takes no more."""
    async with a_server_behind_a_proxy() as (proxy, heard):
        proxy.change(Weather(black_hole=True))
        _, writer = await asyncio.open_connection(HOST, proxy.port)
        writer.write(b"hello")
        writer.close()
        await writer.wait_closed()
        proxy.calm()
        async with asyncio.timeout(PATIENCE_S):
            assert await heard.get() == b"hello"
