"""What both buses promise: the one on Redis and the one in memory that stands for it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr
from uuid_utils.compat import uuid7

from shared.adapters.bus import Bus, open_bus
from shared.events import Event, EventType
from shared.settings import Redis
from tests.fakes.bus import FakeBus

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

TENANT = "bus-contract"


@pytest.fixture(params=["real", "fake"])
def address(request: pytest.FixtureRequest) -> str | None:
    """Of the real one; asked for here, since servers cannot start inside a running loop."""
    return str(request.getfixturevalue("redis_url")) if request.param == "real" else None


@pytest.fixture
async def bus(address: str | None) -> AsyncIterator[Bus | FakeBus]:
    if address is None:
        yield FakeBus()
        return
    async with open_bus(Redis(url=SecretStr(address))) as opened:
        yield opened


class Heard:
    """A sink that writes everything down."""

    def __init__(self) -> None:
        self.signals: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()

    def confirmed(self, tenant: str) -> None:
        self.signals.put_nowait(("confirmed", tenant))

    def received(self, tenant: str, event: Event) -> None:
        self.signals.put_nowait(("received", tenant, event))

    def lost(self) -> None:
        self.signals.put_nowait(("lost",))

    def nudged(self, job_id: UUID) -> None:
        self.signals.put_nowait(("nudged", job_id))

    async def next(self) -> tuple[Any, ...]:
        async with asyncio.timeout(10):
            return await self.signals.get()


@asynccontextmanager
async def listening(listener: Any) -> AsyncIterator[Heard]:
    heard = Heard()
    task = asyncio.create_task(listener.run(heard))
    try:
        yield heard
    finally:
        task.cancel()
        await asyncio.wait({task})


def event(seq: int = 1, kind: EventType = EventType.SUCCEEDED, job_id: UUID | None = None) -> Event:
    moment = datetime(2026, 11, 22, 9, 30, 0, 123000, tzinfo=UTC)
    data = {"outputs": {"a": 1}, "text": "ü\n\\"}
    return Event(seq=seq, job_id=job_id or uuid7(), type=kind, at=moment, data=data)


async def test_a_follower_hears_what_is_announced_after_the_confirmation(bus: Bus | FakeBus) -> None:
    listener = bus.listener()
    async with listening(listener) as heard:
        listener.follow(TENANT)
        assert await heard.next() == ("confirmed", TENANT)
        announced = [event(1), event(2, EventType.PROGRESS), event(3)]
        for one in announced:
            await bus.announce(TENANT, one)
        assert [await heard.next() for _ in announced] == [("received", TENANT, one) for one in announced]


async def test_every_listener_hears_a_nudge(bus: Bus | FakeBus) -> None:
    listener, job_id = bus.listener(), uuid7()
    async with listening(listener) as heard:
        listener.follow(TENANT)
        await heard.next()
        await bus.nudge(job_id)
        assert await heard.next() == ("nudged", job_id)


async def test_nobody_hears_another_tenant(bus: Bus | FakeBus) -> None:
    listener = bus.listener()
    async with listening(listener) as heard:
        listener.follow(TENANT)
        await heard.next()
        await bus.announce(f"{TENANT}-2", event())
        mine = event()
        await bus.announce(TENANT, mine)
        assert await heard.next() == ("received", TENANT, mine)


async def test_following_again_tells_whether_it_is_heard(bus: Bus | FakeBus) -> None:
    listener = bus.listener()
    async with listening(listener) as heard:
        assert listener.follow(TENANT) is False
        await heard.next()
        assert listener.follow(TENANT) is True


async def test_who_leaves_and_returns_is_confirmed_anew(bus: Bus | FakeBus) -> None:
    listener = bus.listener()
    async with listening(listener) as heard:
        listener.follow(TENANT)
        await heard.next()
        listener.unfollow(TENANT)
        while listener.follow(TENANT):  # as long as it is still heard nothing was missed
            listener.unfollow(TENANT)
            await asyncio.sleep(0)
        assert await heard.next() == ("confirmed", TENANT)
        mine = event()
        await bus.announce(TENANT, mine)
        assert await heard.next() == ("received", TENANT, mine)


async def test_a_result_is_kept_until_a_newer_one_comes(bus: Bus | FakeBus) -> None:
    first = event(seq=3)
    assert await bus.result(TENANT, first.job_id) is None
    await bus.announce(TENANT, first, _document(3))
    await bus.announce(TENANT, dataclasses.replace(first, seq=2), _document(2))
    assert await bus.result(TENANT, first.job_id) == _document(3)
    await bus.announce(TENANT, dataclasses.replace(first, seq=3), b'{"seq":3,"again":true}')
    assert await bus.result(TENANT, first.job_id) == _document(3)
    await bus.announce(TENANT, dataclasses.replace(first, seq=4), _document(4))
    assert await bus.result(TENANT, first.job_id) == _document(4)


async def test_a_result_is_its_tenants_only(bus: Bus | FakeBus) -> None:
    mine = event()
    await bus.announce(TENANT, mine, _document(1))
    assert await bus.result(f"{TENANT}-2", mine.job_id) is None


async def test_an_announcement_without_a_result_keeps_what_is_there(bus: Bus | FakeBus) -> None:
    mine = event()
    await bus.announce(TENANT, mine, _document(1))
    await bus.announce(TENANT, dataclasses.replace(mine, seq=5))
    assert await bus.result(TENANT, mine.job_id) == _document(1)


def _document(seq: int) -> bytes:
    return json.dumps({"seq": seq}).encode()
