"""Connections that break where the drivers' own errors used to get through; found by the chaos run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import asyncpg
import pytest
from aiormq.exceptions import AMQPConnectionError
from redis.exceptions import ConnectionError as RedisConnectionError
from uuid_utils.compat import uuid7

from shared.adapters import broker
from shared.adapters.bus import Bus, open_bus
from shared.adapters.listener import Listener
from shared.adapters.store.pool import Database
from shared.errors import Unavailable
from shared.events import Event, EventType
from shared.settings import RabbitMQ, Redis

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 22, tzinfo=UTC)


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


class Deaf:
    """A sink that minds nothing."""

    def lost(self) -> None: ...

    def confirmed(self, tenant: str) -> None: ...

    def received(self, tenant: str, event: Event) -> None: ...

    def nudged(self, job_id: UUID) -> None: ...


async def test_a_listener_that_is_ended_as_its_redis_goes_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error hides the cancellation; a process that stops with its Redis would wait for it for ever."""

    @asynccontextmanager
    async def fails_at_the_end(_: Listener) -> AsyncIterator[Any]:
        read = asyncio.Event()
        began.set()
        try:
            yield SimpleNamespace(get_message=lambda **_: read.wait(), ping=read.wait)
        finally:
            raise RedisConnectionError("gone")

    began = asyncio.Event()
    monkeypatch.setattr(Listener, "_connection", fails_at_the_end)
    running = asyncio.create_task(Listener(Redis()).run(Deaf()))
    await began.wait()
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait({running}, timeout=10)
    assert running.cancelled()


async def test_an_announcement_that_nobody_ended_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever announces minds nothing else: a relay would end its process over it."""

    async def canceled(*_: object) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(Bus, "_announce", canceled)
    async with open_bus(Redis()) as bus:
        with pytest.raises(Unavailable):
            await bus.announce("acme", Event(seq=1, job_id=uuid7(), type=EventType.QUEUED, at=NOW, data={}))
