"""A broker that goes away in the middle of the greeting, as one that is being killed or started does."""

from __future__ import annotations

import asyncio

import pytest
from aiormq.connection import FrameReceiver
from pydantic import SecretStr

from shared.adapters.amqp import connect
from shared.errors import Unavailable
from shared.settings import RabbitMQ

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("says", [b"", b"\x01\x00\x00"])
async def test_a_greeting_that_breaks_off_is_a_broker_that_is_away(says: bytes) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.write(says)
        writer.close()

    await _refused(hang_up)


async def test_a_connection_that_ends_before_it_is_read_is_a_broker_that_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = FrameReceiver.get_frame

    async def read_late(self: FrameReceiver) -> object:
        """The FIN is there before the first read: a matter of microseconds, so it is waited for."""
        while not self.reader.at_eof():
            await asyncio.sleep(0)
        return await read(self)

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write_eof()
        await reader.read()
        writer.close()

    monkeypatch.setattr(FrameReceiver, "get_frame", read_late)
    await _refused(hang_up)


async def _refused(hang_up: object) -> None:
    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:  # type: ignore[arg-type]
        port = server.sockets[0].getsockname()[1]
        settings = RabbitMQ(url=SecretStr(f"amqp://guest:guest@127.0.0.1:{port}/"), timeout_s=5)
        with pytest.raises(Unavailable):
            await connect(settings, name="test")
