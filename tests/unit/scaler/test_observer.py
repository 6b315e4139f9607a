"""What the scaler sees, and what it makes of an outage."""

from __future__ import annotations

import pytest
import structlog

from scaler.observer import Observer, Problems
from scaler.snapshot import UNKNOWN, Backlog, Broker, Demand, Tier, Worker
from shared.adapters.store.fleet import BacklogRow, WorkerRow
from shared.errors import Unavailable
from tests.fakes.clock import FakeClock
from tests.fakes.fleet import FakeBroker, FakeStore, World

pytestmark = pytest.mark.anyio


class Rows(FakeStore):
    """Rows of several priorities, and one worker last heard of at a given time."""

    heard_at = 1000.0

    async def backlog(self) -> list[BacklogRow]:
        self.world.ask("rows")
        figures = [
            ("default", 10, 1, 5.0),
            ("default", 8, 2, 50.0),
            ("default", 3, 4, 9.0),
            ("other", 5, 1, 1.0),
        ]
        return [
            BacklogRow(
                queue=queue,
                priority=priority,
                waiting=waiting,
                running=1,
                oldest_s=oldest_s,
                newest_s=oldest_s / 2,
            )
            for queue, priority, waiting, oldest_s in figures
        ]

    async def workers(self) -> list[WorkerRow]:
        self.world.ask("workers")
        heartbeat_s = self.world.clock.now() - self.heard_at
        return [
            WorkerRow(
                id="a",
                queue="default",
                state="ready",
                slots=1,
                busy=1,
                drain=False,
                since_s=0,
                idle_s=None,
                heartbeat_s=heartbeat_s,
            )
        ]


def observer() -> tuple[Observer, World]:
    world = World(FakeClock(1000.0))
    return Observer(Rows(world), FakeBroker(world), Problems(), world.clock), world


async def silence(look: Observer) -> float:
    workers = (await look.look(["default"])).workers_of("default")
    assert isinstance(workers, tuple)
    [worker] = workers
    assert isinstance(worker, Worker)
    return worker.heartbeat_s


async def test_rows_are_told_by_queue_and_class() -> None:
    given, _ = observer()
    sight = await given.look(["default"])

    assert sight.demand_of("default") == Demand(
        tiers={
            Tier.HIGH: Backlog(waiting=3, oldest_s=50.0, newest_s=2.5),
            Tier.NORMAL: Backlog(),
            Tier.LOW: Backlog(waiting=4, oldest_s=9.0, newest_s=4.5),
        },
        running=3,
    )
    assert sight.broker_of("default") == Broker(ready=0, consumers=0)
    assert sight.queues == {"default", "other"}


async def test_each_part_is_unknown_on_its_own_and_told_once() -> None:
    given, world = observer()
    world.away = {"rows", "broker"}
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            sight = await given.look(["default"])
        world.away = set()
        await given.look(["default"])

    assert (sight.demand_of("default"), sight.broker_of("default")) == (UNKNOWN, UNKNOWN)
    assert sight.workers_of("default") is not UNKNOWN
    assert sorted((line["event"], line["part"]) for line in lines) == [
        ("scaler.known_again", "broker default"),
        ("scaler.known_again", "rows"),
        ("scaler.unknown", "broker default"),
        ("scaler.unknown", "rows"),
    ]


async def test_a_lost_worker_grows_silent() -> None:
    given, world = observer()
    for age_s in (0, 30, 60, 90, 120):
        world.clock.time = 1000.0 + age_s
        assert await silence(given) == age_s


async def test_an_outage_is_no_workers_fault_but_only_until_it_could_be_heard_again() -> None:
    given, world = observer()
    await given.look(["default"])
    world.away = {"workers"}
    world.clock.advance(200)
    assert (await given.look(["default"])).workers_of("default") is UNKNOWN

    world.away = set()
    assert await silence(given) == 0
    world.clock.advance(20)
    assert await silence(given) == 20
    world.clock.advance(20)
    assert await silence(given) == 240


async def test_a_queue_is_deserted_when_two_looks_in_a_row_found_no_consumer() -> None:
    look, world = observer()

    async def deserted() -> bool | None:
        broker = (await look.look(["default"])).broker_of("default")
        return broker.deserted if isinstance(broker, Broker) else None

    assert [await deserted(), await deserted()] == [False, True]
    # What could not be seen in between is no second look.
    world.away = {"broker"}
    assert await deserted() is None
    world.away = set()
    assert [await deserted(), await deserted()] == [False, True]


async def test_other_errors_are_not_swallowed() -> None:
    async def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await Problems().known("rows", broken)


async def test_an_answer_that_says_no_is_unknown() -> None:
    async def away() -> None:
        raise Unavailable("away")

    assert await Problems().known("rows", away) is UNKNOWN
