"""A tenant's firehose: what is heard is told in order, what may be missed is said, too slow ends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID

import pytest

from gateway.feed import Draining, Feed, TooSlow, feed
from gateway.feed.tap import CAPACITY, Tap
from shared.errors import Unavailable
from shared.events import Event, EventType
from tests.fakes.bus import FakeListener
from tests.fakes.store import FakeReads

pytestmark = pytest.mark.anyio


def event(seq: int = 1, kind: EventType = EventType.RUNNING) -> Event:
    return Event(seq=seq, job_id=UUID(int=seq), type=kind, at=datetime.now(UTC), data={})


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "CONFIRM_WAIT_S", 0.05)
    monkeypatch.setattr(feed, "SWEEP_EVERY_S", 0.02)


@asynccontextmanager
async def open_feed() -> AsyncIterator[tuple[Feed, FakeListener]]:
    listener = FakeListener()
    opened = Feed(FakeReads(), listener)
    task = asyncio.create_task(opened.run())
    try:
        yield opened, listener
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_full_tap_drops_progress_and_ends_on_anything_else() -> None:
    tap = Tap()
    for number in range(CAPACITY):
        tap.push(event(number))
    tap.push(event(0, EventType.PROGRESS))
    first = await tap.next()
    assert first is not None
    assert first.seq == 0
    tap.push(event(CAPACITY))
    tap.push(event(CAPACITY + 1))
    with pytest.raises(TooSlow):
        await tap.next()


async def test_all_of_a_tenant_is_told_in_order_and_nothing_of_another() -> None:
    async with open_feed() as (opened, listener), opened.tap("acme") as tap:
        listener.hear("other", event(9))
        for number in (1, 2, 3):
            listener.hear("acme", event(number))
        told = [await tap.next() for _ in range(3)]
        assert [each.seq for each in told if each] == [1, 2, 3]


async def test_a_lost_connection_is_told_as_a_gap_before_what_comes_next() -> None:
    async with open_feed() as (opened, listener), opened.tap("acme") as tap:
        listener.drop_connection()
        async with asyncio.timeout(5):
            assert await tap.next() is None
        listener.hear("acme", event(1))
        assert (await tap.next()) is not None


async def test_a_tap_keeps_its_tenant_from_being_forgotten() -> None:
    async with open_feed() as (opened, listener), opened.tap("acme") as tap:
        for _ in range(5):
            await asyncio.sleep(0.02)  # sweeps go by
        listener.hear("acme", event(1))
        async with asyncio.timeout(5):
            assert await tap.next() is not None


async def test_without_redis_there_is_no_firehose() -> None:
    async with open_feed() as (opened, listener):
        listener.silent = True
        with pytest.raises(Unavailable):
            async with opened.tap("acme"):
                raise AssertionError("nobody heard")


async def test_a_drain_ends_it_and_lets_nobody_in() -> None:
    async with open_feed() as (opened, _):
        async with opened.tap("acme") as tap:
            opened.drain()
            with pytest.raises(Draining):
                await tap.next()
        with pytest.raises(Draining):
            async with opened.tap("acme"):
                raise AssertionError("it was let in")
