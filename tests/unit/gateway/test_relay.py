"""The relay: what comes due is published, and leases are judged only after steady answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import pytest
from prometheus_client import REGISTRY
from uuid_utils.compat import uuid7

from gateway.relay import LEASE_GRACE_S, STEADY_S, Relay
from shared.errors import Misconfigured, Unavailable
from shared.events import Event, EventType
from shared.jobs import Attempt, Job, NewJob

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 22, tzinfo=UTC)
BATCH = 10


@dataclass(frozen=True)
class FakeDue:
    id: UUID
    queue: str = "images"
    priority: int = 5
    publish_due: datetime = NOW
    traceparent: str | None = None


@dataclass
class FakeRows:
    due: list[FakeDue] = field(default_factory=list)
    ended: list[tuple[str, Event]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    put: list[tuple[UUID, datetime]] = field(default_factory=list)
    away: bool = False
    answering: Callable[[str], None] = lambda _: None
    """Called while a duty waits for its answer."""

    async def put_back(self, marks: Sequence[tuple[UUID, datetime]]) -> None:
        self.put.extend(marks)

    async def take_due(self, *, refused: Collection[str] = ()) -> Sequence[FakeDue]:
        wanted = [row for row in self.due if row.queue not in refused][:BATCH]
        self.due = [row for row in self.due if row not in wanted]
        return wanted

    async def expire_leases(self) -> Sequence[tuple[str, Event]]:
        self.calls.append("judged")
        self.answering("expire_leases")
        return self.ended

    async def wake_waiting(self) -> Sequence[tuple[str, Event]]:
        if self.away:
            raise Unavailable("away")
        self.answering("wake_waiting")
        return []

    async def expire_starts(self) -> Sequence[tuple[str, Event]]:
        self.answering("expire_starts")
        return []


@dataclass
class FakeStore:
    confirmed: list[UUID] = field(default_factory=list)

    async def submit(self, job: NewJob) -> None:
        raise AssertionError("the relay submits nothing")

    async def published(self, id: UUID, publish_due: datetime) -> None:  # noqa: A002
        self.confirmed.append(id)

    async def job(self, tenant: str, job_id: UUID) -> Job | None:
        return None

    async def events(self, tenant: str, job_id: UUID, after: int = 0) -> list[Event]:
        return []

    async def attempts(self, tenant: str, job_id: UUID) -> list[Attempt]:
        return []

    async def seqs(self, ids: Sequence[UUID]) -> dict[UUID, int]:
        return {}


@dataclass
class FakePublisher:
    sent: list[UUID] = field(default_factory=list)
    plain: str = ""
    """A queue without priorities; known as such once it has been met."""
    away: bool = False
    refused: dict[str, Misconfigured] = field(default_factory=dict)

    async def publish(self, queue: str, job_id: UUID, *, priority: int, traceparent: str | None) -> None:
        if queue == self.plain:
            raise self.refused.setdefault(queue, Misconfigured("no priorities"))
        if self.away:
            raise Unavailable("away")
        self.sent.append(job_id)

    async def declare(self, queues: object) -> None: ...


@dataclass
class FakeVoice:
    told: list[EventType] = field(default_factory=list)
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while Redis answers."""

    def __post_init__(self) -> None:
        self.answers.set()

    async def announce(self, tenant: str, event: Event, result: bytes | None = None) -> None:
        await self.answers.wait()
        self.told.append(event.type)

    async def nudge(self, job_id: UUID) -> None: ...

    async def result(self, tenant: str, job_id: UUID) -> bytes | None:
        return None


class NoRedelivery:
    async def check(self) -> None: ...


class House:
    def __init__(self) -> None:
        self.now = 0.0
        self.rows, self.store = FakeRows(), FakeStore()
        self.publisher, self.bus = FakePublisher(), FakeVoice()
        self.relay = Relay(
            rows=self.rows,
            redelivery=NoRedelivery(),
            submits=self.store,  # type: ignore[arg-type]  # submit is never called
            reads=self.store,
            publisher=self.publisher,
            bus=self.bus,
            clock=lambda: self.now,
        )

    async def judge_for(self, seconds: float) -> None:
        """Judge now and once a second until so much later."""
        await self.relay.judge()
        for _ in range(int(seconds)):
            self.now += 1
            await self.relay.judge()

    def answers_take(self, seconds: float, *duties: str) -> None:
        """From now on PostgreSQL answers these so late."""

        def wait(duty: str) -> None:
            self.now += seconds if duty in duties else 0

        self.rows.answering = wait


async def test_a_due_row_is_published_and_its_confirm_noted() -> None:
    house = House()
    house.rows.due = [FakeDue(uuid7()), FakeDue(uuid7())]
    wanted = [due.id for due in house.rows.due]

    await house.relay.publish()

    assert house.publisher.sent == wanted
    assert house.store.confirmed == wanted


async def test_what_is_due_is_published_in_one_go_however_much_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wiped broker is refilled as fast as it takes messages, not one batch a tick."""
    monkeypatch.setattr("gateway.relay.TICK_S", 3600)
    house = House()
    house.rows.due = [FakeDue(uuid7()) for _ in range(5 * BATCH)]

    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(house.relay.run())
        while len(house.publisher.sent) < 5 * BATCH:
            await asyncio.sleep(0)
        running.cancel()


async def test_a_broker_that_is_away_is_tried_with_one_batch_a_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is due, taken and put back without a rest, would load PostgreSQL and fill the log."""
    monkeypatch.setattr("gateway.relay.TICK_S", 3600)
    house = House()
    house.publisher.away = True
    house.rows.due = [FakeDue(uuid7()) for _ in range(5 * BATCH)]

    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(house.relay.run())
        while not house.rows.put:
            await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.sleep(0)
        running.cancel()
    assert len(house.rows.put) == BATCH


async def test_a_duty_that_is_canceled_by_nobody_ends_the_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay that goes on with three of its four duties loses jobs while everything looks well."""
    house = House()
    monkeypatch.setattr(house.rows, "take_due", _canceled)
    with pytest.raises(ExceptionGroup) as ended:
        async with asyncio.timeout(10):
            await house.relay.run()
    assert "relay.publish" in str(ended.value.exceptions)


async def _canceled(*, refused: Collection[str]) -> None:
    del refused
    raise asyncio.CancelledError


async def test_a_queue_that_is_refused_or_a_broker_that_is_away_leaves_the_row_due() -> None:
    house = House()
    house.publisher.plain = "plain"
    met, good = FakeDue(uuid7(), queue="plain"), FakeDue(uuid7())
    house.rows.due = [met, good]
    await house.relay.publish()
    assert house.store.confirmed == [good.id]

    house.publisher.away = True
    kept = FakeDue(uuid7())
    house.rows.due = [kept]
    await house.relay.publish()
    assert house.store.confirmed == [good.id]
    assert house.rows.put == [(each.id, each.publish_due) for each in (met, kept)]


async def test_rows_of_a_queue_that_is_known_to_be_refused_stay_due_for_who_may_use_it() -> None:
    """Another gateway may have seen it mended already: a try here would put them off."""
    house = House()
    house.publisher.plain = "plain"
    house.rows.due = [FakeDue(uuid7(), queue="plain")]
    await house.relay.publish()

    waiting = FakeDue(uuid7(), queue="plain")
    house.rows.due = [waiting]
    await house.relay.publish()
    assert house.rows.due == [waiting]
    house.publisher.plain = ""
    house.publisher.refused.clear()
    await house.relay.publish()
    assert house.store.confirmed == [waiting.id]


async def test_no_lease_is_judged_before_steady_answers() -> None:
    house = House()
    await house.judge_for(LEASE_GRACE_S - 1)
    assert house.rows.calls == []

    house.now += 1
    await house.relay.judge()

    assert house.rows.calls == ["judged"]


async def test_an_outage_starts_the_count_anew() -> None:
    house = House()
    await house.judge_for(LEASE_GRACE_S)
    house.rows.away = True
    for _ in range(10):
        with pytest.raises(Unavailable):
            await house.relay.judge()
        house.now += 1
    house.rows.away = False

    await house.judge_for(LEASE_GRACE_S - 1)

    assert house.rows.calls == ["judged"]


async def test_a_long_time_without_a_question_starts_the_count_anew() -> None:
    house = House()
    await house.judge_for(LEASE_GRACE_S)
    house.now += 60

    await house.relay.judge()

    assert house.rows.calls == ["judged"]


async def test_no_lease_is_judged_while_every_answer_takes_long() -> None:
    house = House()
    house.answers_take(9.0, "wake_waiting", "expire_starts", "expire_leases")

    await house.judge_for(5 * LEASE_GRACE_S)

    assert house.rows.calls == []


@pytest.mark.parametrize("duty", ["wake_waiting", "expire_starts"])
async def test_an_answer_that_took_long_starts_the_count_anew(duty: str) -> None:
    house = House()
    await house.judge_for(LEASE_GRACE_S)
    house.answers_take(STEADY_S + 1, duty)

    await house.relay.judge()

    assert house.rows.calls == ["judged"]
    house.answers_take(0.0)
    await house.judge_for(LEASE_GRACE_S - 1)
    assert house.rows.calls == ["judged"]
    house.now += 1
    await house.relay.judge()
    assert house.rows.calls == ["judged"] * 2


async def test_the_judgement_itself_taking_long_starts_the_count_anew() -> None:
    house = House()
    house.answers_take(STEADY_S + 1, "expire_leases")
    await house.judge_for(LEASE_GRACE_S)

    await house.judge_for(LEASE_GRACE_S - 1)

    assert house.rows.calls == ["judged"]


async def test_what_the_relay_ends_is_announced_and_a_answers_redis_holds_up_nothing() -> None:
    house = House()
    await house.judge_for(LEASE_GRACE_S)
    house.bus.answers.clear()
    house.rows.ended = [
        ("acme", Event(seq=3, job_id=uuid7(), type=EventType.FAILED, at=NOW, data={})) for _ in range(3)
    ]
    before = _repaired("lease_expired")
    due = FakeDue(uuid7())
    house.rows.due = [due]

    running = asyncio.create_task(house.relay.run())
    async with asyncio.timeout(10):
        while due.id not in house.publisher.sent:
            await asyncio.sleep(0)
    assert house.bus.told == []
    house.rows.ended = []
    house.bus.answers.set()
    async with asyncio.timeout(10):
        while len(house.bus.told) < 3:
            await asyncio.sleep(0)
    running.cancel()

    assert set(house.bus.told) == {EventType.FAILED}
    assert _repaired("lease_expired") >= before + 3


def _repaired(cause: str) -> float:
    return REGISTRY.get_sample_value("leveret_gateway_relay_repairs_total", {"cause": cause}) or 0
