"""The scaler's loop in a world of fakes, on a clock of its own."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import structlog
from prometheus_client import REGISTRY

from scaler.keeper import Keeper
from scaler.leader import Leader
from scaler.loop import Loop
from scaler.observer import Observer, Problems
from scaler.snapshot import Config, Tier
from tests.fakes.clock import FakeClock
from tests.fakes.fleet import FakeBroker, FakeFleet, FakeLock, FakeMachine, FakeStore, World

pytestmark = pytest.mark.anyio


@dataclass
class Scaler:
    world: World
    fleet: FakeFleet
    loop: Loop
    lock: FakeLock
    keeper: Keeper

    async def turns(self, count: int) -> None:
        for _ in range(count):
            await self.loop.tick()
            self.world.clock.advance(1)
            self.world.turn()


def scaler(world: World | None = None, lock: FakeLock | None = None, **limits: Any) -> Scaler:
    world = world or World(FakeClock())
    lock = lock or FakeLock([])
    # An objective that has passed before anybody looks: as many workers as jobs.
    usual: dict[str, Any] = {"max": 2, "idle_s": 10.0, "wait_s": dict.fromkeys(Tier, 1.0)}
    config = Config(**(usual | limits))
    fleet, store, problems, leader = FakeFleet(world), FakeStore(world), Problems(), Leader(lock)
    keeper = Keeper(
        world.queue, fleet, config, ledger=store, leader=leader, clock=world.clock, problems=problems
    )
    loop = Loop(
        [keeper],
        Observer(store, FakeBroker(world), problems, world.clock),
        leader,
        world.clock,
        interval_s=1.0,
    )
    return Scaler(world, fleet, loop, lock, keeper)


async def test_a_job_starts_a_worker_which_leaves_when_idle() -> None:
    given = scaler()
    await given.turns(3)
    assert given.world.machines == {}

    given.world.waiting = 1
    await given.turns(8)
    assert given.world.running == 1
    assert len(given.world.machines) == 1

    given.world.finish_all()
    await given.turns(20)
    assert given.world.alive == []
    assert given.world.killed_busy == []
    did = [{name for name, done in d["actions"].items() if done} for d in given.world.decisions]
    assert did == [{"launch", "token"}, {"drain"}]


async def test_two_hundred_jobs_share_the_maximum_and_nothing_busy_is_killed() -> None:
    given = scaler(max=4)
    given.world.waiting = 200

    most = 0
    for _ in range(80):
        await given.turns(1)
        most = max(most, len(given.world.alive))
        given.world.finish_all()
    await given.turns(20)

    assert (most, given.world.waiting, given.world.killed_busy) == (4, 0, [])
    assert given.world.alive == []


async def test_unknown_rows_hold_and_are_written_down_once() -> None:
    given = scaler()
    given.world.waiting = 1
    await given.turns(8)
    given.world.finish_all()
    given.world.away = {"rows", "workers", "broker"}

    await given.turns(50)

    assert len(given.world.alive) == 1
    holds = [decision for decision in given.world.decisions if decision["want"] is None]
    assert [hold["reason"] for hold in holds] == ["hold: the rows are unknown"]
    assert holds[0]["snapshot"]["demand"] == "unknown"

    given.world.away = set()
    await given.turns(15)
    assert given.world.alive == []


async def test_a_fleet_that_cannot_be_listed_is_left_alone() -> None:
    given = scaler()
    given.world.away = {"fleet"}
    given.world.waiting = 5

    await given.turns(5)

    assert given.world.machines == {}


async def test_what_cannot_be_written_down_is_not_done() -> None:
    given = scaler()
    given.world.away = {"ledger"}
    given.world.waiting = 5

    await given.turns(5)
    assert given.world.machines == {}

    given.world.away = set()
    await given.turns(1)
    assert len(given.world.machines) == 2


async def test_machines_that_die_at_once_are_not_started_in_a_loop() -> None:
    given = scaler()
    given.world.broken_image = True
    given.world.waiting = 5

    await given.turns(120)
    tried = len(given.world.machines)
    assert tried < 16  # two at a time, after 2, 4, 8, 16, 32, 64 s

    given.world.broken_image = False
    await given.turns(300)
    assert given.world.waiting == 3
    assert given.world.running == 2


async def test_a_worker_that_is_missing_and_not_started_is_told_once() -> None:
    given = scaler()
    given.world.waiting = 1
    given.world.away = {"launch"}

    await given.turns(30)

    told = [(d["actions"]["launch"], d["want"], d["have"]) for d in given.world.decisions]
    assert told[:4] == [(1, 1, 0), (0, 1, 0), (1, 1, 0), (0, 1, 0)]
    assert given.world.decisions[1]["reason"].endswith("launches fail, next try in 1 s")
    assert all(now != then for now, then in itertools.pairwise(told))


async def test_launches_that_are_refused_are_not_tried_in_a_loop() -> None:
    given = scaler()
    given.world.away = {"launch"}
    given.world.waiting = 5

    await given.turns(120)

    launches = [decision for decision in given.world.decisions if decision["actions"]["launch"]]
    assert 4 <= len(launches) <= 8


async def test_a_machine_that_cannot_be_ended_is_told_and_keeps_nobody_from_starting() -> None:
    given = scaler()
    given.world.machines["hung"] = FakeMachine("hung", given.world.clock.now() - 1e4)
    given.world.boot_s = 2e4  # it never comes: past its deadline, and to be ended
    given.world.away.add("terminate")
    given.world.waiting = 1

    await given.turns(40)

    assert len(given.world.machines) == 2
    (alarm,) = given.keeper.alarms
    assert alarm == "machines that are over can't be ended: terminate is away"

    given.world.away.clear()
    await given.turns(2)
    assert [machine.id for machine in given.world.alive if machine.id == "hung"] == []
    assert given.keeper.alarms == ()


async def test_a_drain_that_is_refused_is_written_down_once() -> None:
    given = scaler()
    given.world.waiting = 1
    await given.turns(8)
    given.world.finish_all()

    class RefusingStore(FakeStore):
        async def drain(self, ids: Sequence[str]) -> Sequence[str]:
            assert ids
            return []

    given.loop._keepers[0]._ledger = RefusingStore(given.world)
    await given.turns(20)

    assert len([decision for decision in given.world.decisions if decision["actions"]["drain"]]) == 1


async def test_the_row_of_a_worker_whose_machine_ended_is_closed_at_once() -> None:
    given = scaler()
    given.world.waiting = 1
    await given.turns(5)
    [machine] = given.world.machines.values()

    machine.busy, machine.ended = 0, given.world.clock.now()
    given.world.forgotten.add(machine.id)  # it said no goodbye
    await given.turns(3)

    assert given.world.buried == [machine.id]


async def test_jobs_of_a_queue_without_a_fleet_are_told_once() -> None:
    given = scaler()
    given.world.queue, given.world.waiting = "strange", 3

    with structlog.testing.capture_logs() as lines:
        await given.turns(3)

    told = [line for line in lines if line["event"] == "scaler.queue_without_fleet"]
    assert [line["queue"] for line in told] == ["strange"]


async def test_only_one_of_two_scalers_acts_and_the_other_takes_over() -> None:
    holder: list[FakeLock] = []
    world = World(FakeClock())
    first, second = scaler(world, FakeLock(holder)), scaler(world, FakeLock(holder))
    world.waiting = 1

    await first.turns(1)
    await second.turns(1)
    assert (len(first.fleet.tokens), len(second.fleet.tokens)) == (1, 0)

    assert _shown("leveret_scaler_launches_total", queue=world.queue) >= 1
    first.lock.away = True
    first.lock.lose()
    world.waiting = 5
    await first.turns(1)
    assert REGISTRY.get_sample_value("leveret_scaler_have_workers", {"queue": world.queue}) is None
    assert _shown("leveret_scaler_last_look_timestamp_seconds") == 0
    await second.turns(1)
    assert (len(first.fleet.tokens), len(second.fleet.tokens)) == (1, 1)
    assert _shown("leveret_scaler_objective_seconds", queue=world.queue, **{"class": "high"}) == 1
    assert _shown("leveret_scaler_limit_workers", queue=world.queue, bound="max") == 2
    assert _shown("leveret_scaler_last_look_timestamp_seconds") > 0


def _shown(name: str, **labels: str) -> float:
    value = REGISTRY.get_sample_value(name, labels)
    assert value is not None
    return value


async def test_leadership_that_ends_in_the_middle_of_a_turn_changes_nothing() -> None:
    given = scaler()
    given.world.waiting = 5
    record = FakeStore.record

    class LosingStore(FakeStore):
        async def record(self, fleet: str, **told: Any) -> int:
            given.lock.lose()
            given.lock.away = True
            return await record(self, fleet, **told)

    given.loop._keepers[0]._ledger = LosingStore(given.world)
    await given.loop.tick()

    assert given.fleet.tokens == []


async def test_two_leaders_for_a_moment_launch_once() -> None:
    world = World(FakeClock())
    first, second = scaler(world, FakeLock([])), scaler(world, FakeLock([]))
    world.waiting = 1

    both_asked = asyncio.Barrier(2)

    class SlowStore(FakeStore):
        async def last_decision(self, fleet: str) -> int:
            number = await super().last_decision(fleet)
            await both_asked.wait()
            return number

    for each in (first, second):
        each.loop._keepers[0]._ledger = SlowStore(world)
    await asyncio.gather(first.loop.tick(), second.loop.tick())

    assert first.fleet.tokens == second.fleet.tokens
    assert len(world.machines) == 1


async def test_it_stops_when_it_is_asked_to() -> None:
    given = scaler()
    stopping = asyncio.Event()

    running = asyncio.create_task(given.loop.run(stopping))
    while len(given.world.clock.waits) < 3:
        await asyncio.sleep(0)
    stopping.set()
    await running

    assert set(given.world.clock.waits) == {1.0}
