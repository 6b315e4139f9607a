"""The feed's promise, whatever the order of things: each state event once, in order, to the terminal one."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import UUID

import pytest
from prometheus_client import REGISTRY
from uuid_utils.compat import uuid7

from gateway.feed import Draining, Feed, Stream, TooSlow, feed, watch
from shared.errors import NotFound, Unavailable
from shared.events import Event, EventType
from tests.fakes.bus import FakeListener
from tests.fakes.store import FakeReads

pytestmark = pytest.mark.anyio

TENANT = "acme"
LIFE = [EventType.QUEUED, EventType.RUNNING, EventType.RETRYING, EventType.RUNNING, EventType.SUCCEEDED]


class House:
    """A feed over fakes, and a job that goes through its life."""

    def __init__(self) -> None:
        self.reads = FakeReads()
        self.listener = FakeListener()
        self.feed = Feed(self.reads, self.listener)
        self.job_id: UUID = uuid7()

    def commit(self, kind: EventType, *, announced: bool = True) -> Event:
        event = self.reads.add(TENANT, self.job_id, kind)
        if announced:
            self.listener.hear(TENANT, event)
        return event

    def progress(self) -> None:
        seq = len(self.reads.histories[TENANT, self.job_id])
        last = self.reads.histories[TENANT, self.job_id][-1]
        self.listener.hear(TENANT, replace(last, seq=seq, type=EventType.PROGRESS))

    async def collect(self, after: int = 0) -> list[Event]:
        async with self.feed.watch(TENANT, self.job_id, after) as stream:
            return [event async for event in stream]


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "SWEEP_EVERY_S", 0.05)
    monkeypatch.setattr(feed, "CONFIRM_WAIT_S", 0.05)


@asynccontextmanager
async def open_house() -> AsyncIterator[House]:
    house = House()
    running = asyncio.create_task(house.feed.run())
    try:
        yield house
    finally:
        running.cancel()
        await asyncio.wait({running})


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with open_house() as opened:
        yield opened


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def seqs(events: list[Event]) -> list[int]:
    return [event.seq for event in events if event.type is not EventType.PROGRESS]


@pytest.mark.parametrize("after", range(7))
@pytest.mark.parametrize("committed", range(1, 6))
async def test_whoever_comes_whenever_with_whatever_cursor_gets_the_rest(
    house: House, after: int, committed: int
) -> None:
    for kind in LIFE[:committed]:
        house.commit(kind)
    collecting = asyncio.create_task(house.collect(after))
    await settle()
    for kind in LIFE[committed:]:
        house.commit(kind)
    expected = range((after if after <= committed else 0) + 1, 6)
    async with asyncio.timeout(5):
        assert seqs(await collecting) == list(expected)


@pytest.mark.parametrize("seed", range(40))
async def test_whatever_redis_loses_nothing_is_missed_or_doubled(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311  a test's dice
    async with open_house() as house:
        house.commit(EventType.QUEUED)
        collecting = [asyncio.create_task(house.collect(chance.choice([0, 0, 1, 9]))) for _ in range(3)]

        async def rest() -> None:
            await asyncio.sleep(chance.choice([0, 0, 0.001, 0.06]))

        def outage() -> None:
            house.reads.away = not house.reads.away

        acts: list[Callable[[], object]] = [house.listener.drop_connection, house.progress, outage]
        await settle()
        for kind in LIFE[1:]:
            for _ in range(chance.randrange(4)):
                chance.choice(acts)()
                await rest()
            house.commit(kind, announced=chance.random() < 0.6)
            await rest()
        house.reads.away = False
        async with asyncio.timeout(5):
            everything = await asyncio.gather(*collecting)
    for events in everything:
        assert seqs(events) in ([1, 2, 3, 4, 5], [2, 3, 4, 5])
        assert events[-1].type is EventType.SUCCEEDED


async def test_without_a_confirmation_the_sweep_serves(house: House) -> None:
    house.listener.silent = True
    house.commit(EventType.QUEUED)
    collecting = asyncio.create_task(house.collect())
    await asyncio.sleep(0.08)
    for kind in LIFE[1:]:
        house.commit(kind)
    async with asyncio.timeout(5):
        assert seqs(await collecting) == [1, 2, 3, 4, 5]


async def test_nothing_is_read_before_the_confirmation(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "CONFIRM_WAIT_S", 5)
    house.listener.silent = True
    house.commit(EventType.QUEUED)
    collecting = asyncio.create_task(house.collect())
    await settle()
    assert house.reads.asked == 0
    house.listener.silent = False
    house.listener.drop_connection()
    await settle()
    house.commit(EventType.SUCCEEDED)
    assert seqs(await collecting) == [1, 2]


async def test_progress_arrives_between_its_events_and_moves_nothing(house: House) -> None:
    house.commit(EventType.QUEUED)
    collecting = asyncio.create_task(house.collect())
    await settle()
    house.commit(EventType.RUNNING)
    house.progress()
    house.commit(EventType.SUCCEEDED)
    assert [(event.seq, event.type.value) for event in await collecting] == [
        (1, "job.queued"),
        (2, "job.running"),
        (2, "job.progress"),
        (3, "job.succeeded"),
    ]


async def test_another_tenants_job_and_none_look_alike(house: House) -> None:
    house.commit(EventType.QUEUED)
    for tenant, job_id in (("other", house.job_id), (TENANT, uuid7())):
        with pytest.raises(NotFound):
            async with house.feed.watch(tenant, job_id, 0):
                pass


async def test_events_of_a_job_go_to_its_tenant_only(house: House) -> None:
    house.commit(EventType.QUEUED)
    house.reads.add("other", house.job_id, EventType.QUEUED)
    async with house.feed.watch("other", house.job_id, 0) as stream:
        collecting = asyncio.create_task(_until_ended(stream))
        await settle()
        house.commit(EventType.SUCCEEDED)
        house.feed.drain()
        assert seqs(await collecting) == [1]


async def test_an_ended_job_with_its_cursor_at_the_end_has_nothing_to_say(house: House) -> None:
    house.commit(EventType.QUEUED)
    house.commit(EventType.CANCELED)
    async with house.feed.watch(TENANT, house.job_id, 2) as stream:
        assert stream.ended
        assert [event async for event in stream] == []


async def test_who_takes_nothing_is_let_go_but_not_for_progress(house: House) -> None:
    house.commit(EventType.QUEUED)
    async with house.feed.watch(TENANT, house.job_id, 0) as stream:
        await settle()
        house.commit(EventType.RUNNING)
        for _ in range(watch.CAPACITY * 2):
            house.progress()
        events = aiter(stream)
        assert [(await anext(events)).seq for _ in range(3)] == [1, 2, 2]
        for _ in range(watch.CAPACITY):
            house.commit(EventType.RETRYING)
        with pytest.raises(TooSlow):
            await _rest(events)


async def test_draining_ends_streams_and_takes_no_new_ones(house: House) -> None:
    house.commit(EventType.QUEUED)
    async with house.feed.watch(TENANT, house.job_id, 1) as stream:
        ended = asyncio.create_task(_failure_of(lambda: anext(aiter(stream))))
        await settle()
        house.feed.drain()
        assert await ended is Draining
    assert await _failure_of(house.collect) is Draining


async def test_waiting_for_the_end(house: House) -> None:
    house.commit(EventType.QUEUED)
    assert not await house.feed.ended(TENANT, house.job_id, within_s=0.01)
    waiting = asyncio.create_task(house.feed.ended(TENANT, house.job_id, within_s=5))
    await settle()
    house.commit(EventType.FAILED)
    assert await waiting
    house.reads.away = True
    assert not await house.feed.ended(TENANT, house.job_id, within_s=5)
    with pytest.raises(Unavailable):
        await house.collect()


async def test_tenants_nobody_watches_are_left(house: House) -> None:
    house.commit(EventType.QUEUED)
    house.commit(EventType.SUCCEEDED)
    await house.collect()
    assert house.listener.wanted == {TENANT}
    async with asyncio.timeout(5):
        while house.listener.wanted:
            await asyncio.sleep(0.01)
    assert seqs(await house.collect()) == [1, 2]


async def test_idle_subscribers_cost_one_question_per_sweep(house: House) -> None:
    house.commit(EventType.QUEUED)
    watching = [asyncio.create_task(house.collect()) for _ in range(50)]
    await settle()
    house.reads.asked = 0
    house.listener.drop_connection()
    await settle()
    assert house.reads.asked == 1
    for one in watching:
        one.cancel()
    await asyncio.gather(*watching, return_exceptions=True)


async def _until_ended(stream: Stream) -> list[Event]:
    events = []
    try:
        async for event in stream:
            events.append(event)  # noqa: PERF401  what came before the end counts
    except Draining:
        pass
    return events


async def _rest(events: AsyncIterator[Event]) -> list[Event]:
    return [event async for event in events]


async def _failure_of(call: Callable[[], Awaitable[object]]) -> type[BaseException] | None:
    try:
        await call()
    except Exception as error:  # noqa: BLE001  it is what is asked for
        return type(error)
    return None


async def test_the_lag_of_a_push_is_measured_once_it_was_sent_and_history_is_none(house: House) -> None:
    def lags() -> float:
        return REGISTRY.get_sample_value("leveret_gateway_push_lag_seconds_count") or 0

    house.commit(EventType.QUEUED)
    before = lags()
    async with house.feed.watch(TENANT, house.job_id, 0) as stream:
        events = aiter(stream)
        await anext(events)
        house.commit(EventType.RUNNING)
        house.progress()
        house.commit(EventType.SUCCEEDED)
        await anext(events)
        assert lags() == before  # what was there before is no push, and this one is being sent
        assert len(await _rest(events)) == 2
    assert lags() == before + 2
