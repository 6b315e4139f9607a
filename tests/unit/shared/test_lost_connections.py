"""Connections that break where the drivers' own errors used to get through; found by the chaos run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import asyncpg
import pytest
from aiormq.exceptions import AMQPConnectionError

from shared.adapters import broker
from shared.adapters.store.pool import Database
from shared.errors import Unavailable
from shared.settings import RabbitMQ

pytestmark = pytest.mark.anyio


class SlowToTakeBack:
    """A pool that gives up on a connection while it is handed back; asyncpg has ended it by then."""

    async def acquire(self, **_: object) -> SlowToTakeBack:
        return self

    async def fetch(self, *_: object, **__: object) -> list[int]:
        return [1]

    async def release(self, *_: object, **__: object) -> None:
        raise TimeoutError

    def terminate(self) -> None:
        raise asyncpg.InterfaceError("connection has been released back to the pool")


async def test_a_connection_lost_on_its_way_back_costs_no_answer() -> None:
    rows = await Database(cast("Any", SlowToTakeBack()), 1.0).read("select 1")
    assert cast("list[int]", rows) == [1]


class BrokenConnection:
    """Greets, and is gone before it has a channel."""

    is_closed = False
    closed = False

    def __init__(self, error: Exception) -> None:
        self.error = error

    def channel(self, **_: object) -> Any:
        return SimpleNamespace(initialize=self.reset)

    async def reset(self, **_: object) -> None:
        raise self.error

    async def close(self) -> None:
        self.closed = True
        raise self.error


@pytest.mark.parametrize("error", [AMQPConnectionError("Server connection reset"), Exception()], ids=repr)
async def test_a_broker_lost_between_greeting_and_channel_is_away(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    connection = BrokenConnection(error)

    async def connect(*_: object, **__: object) -> BrokenConnection:
        return connection

    monkeypatch.setattr(broker, "connect", connect)
    async with broker.open_publisher(RabbitMQ(), name="test") as publisher:
        with pytest.raises(Unavailable):
            await publisher.ping()
    assert connection.closed
