"""Each queue has its turn on its own: what one waits for, or breaks on, keeps no other from its look."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any

import pytest

from scaler import gauges, turns
from scaler.keeper import Keeper
from scaler.leader import Leader, LeadershipLost
from scaler.loop import Loop
from scaler.observer import Observer, Problems
from scaler.snapshot import Config, Machine, Tier
from shared.adapters.broker import QueueDepth
from shared.adapters.store.fleet import BacklogRow, ServedRow, WorkerRow
from tests.fakes.clock import FakeClock
from tests.fakes.fleet import FakeFleet, FakeLock, FakeStore, World

pytestmark = pytest.mark.anyio

SLOW, QUICK = "a-slow", "b-quick"
SOON_S = 0.02
"""A tick waits so long for a queue that hangs, in true seconds: the one time that passes here."""


class Hanging(FakeFleet):
    """Its cloud takes a launch and says nothing."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.answers = asyncio.Event()
        self.asked: list[str] = []
        self.called_off = 0

    async def launch(self, count: int, *, token: str) -> Sequence[str]:
        self.asked.append(token)
        try:
            await self.answers.wait()
        except asyncio.CancelledError:
            self.called_off += 1
            raise
        return await super().launch(count, token=token)


class Broken(FakeFleet):
    """A defect of ours, not of the cloud."""

    async def machines(self) -> Sequence[Machine]:
        raise KeyError("never thought of")


class Pair:
    """Two queues, each with a job, on one scaler. Satisfies `scaler.ports.Rows` and `Depths` for both."""

    def __init__(self, slow: Callable[[World], FakeFleet], lock: FakeLock | None = None) -> None:
        self.clock, self.lock = FakeClock(), lock or FakeLock([])
        self.worlds = {queue: World(self.clock, queue=queue, waiting=1) for queue in (SLOW, QUICK)}
        self.fleets = {SLOW: slow(self.worlds[SLOW]), QUICK: FakeFleet(self.worlds[QUICK])}
        self.stores = {queue: FakeStore(world) for queue, world in self.worlds.items()}
        problems, self.leader = Problems(), Leader(self.lock)
        config = Config(max=2, wait_s=dict.fromkeys(Tier, 1.0))
        self.keepers = {
            queue: Keeper(
                queue,
                fleet,
                config,
                ledger=self.stores[queue],
                leader=self.leader,
                clock=self.clock,
                problems=problems,
            )
            for queue, fleet in self.fleets.items()
        }
        observer = Observer(self, self, problems, self.clock)
        keepers = list(self.keepers.values())
        self.loop = Loop(keepers, observer, self.leader, self.clock, interval_s=SOON_S)

    async def backlog(self) -> Sequence[BacklogRow]:
        return [row for store in self.stores.values() for row in await store.backlog()]

    async def workers(self) -> Sequence[WorkerRow]:
        return [row for store in self.stores.values() for row in await store.workers()]

    async def served(self, since: datetime | None) -> Sequence[ServedRow]:
        return ()

    async def depth(self, queue: str) -> QueueDepth:
        return QueueDepth(ready=self.worlds[queue].waiting, consumers=len(self.worlds[queue].alive))

    async def turns(self, count: int) -> None:
        for _ in range(count):
            await self.loop.tick()
            self.clock.advance(1)
            for world in self.worlds.values():
                world.turn()


@pytest.fixture
def hung() -> Pair:
    return Pair(Hanging)


async def test_a_fleet_that_hangs_keeps_no_other_queue_from_its_turn(hung: Pair) -> None:
    async with asyncio.timeout(5):
        await hung.turns(8)

    assert hung.worlds[QUICK].running == 1
    assert len(hung.worlds[QUICK].looks) == 8
    # And its own turn goes on alone
    fleet = hung.fleets[SLOW]
    assert isinstance(fleet, Hanging)
    assert (len(fleet.asked), len(hung.worlds[SLOW].looks)) == (1, 1)
    fleet.answers.set()
    await hung.turns(8)
    assert hung.worlds[SLOW].running == 1


async def test_a_turn_that_takes_too_long_is_called_off_told_and_repeated(
    hung: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "TURN_S", SOON_S / 2)
    fleet = hung.fleets[SLOW]
    assert isinstance(fleet, Hanging)

    await hung.turns(1)
    assert fleet.called_off == 1
    fleet.answers.set()
    monkeypatch.setattr(turns, "TURN_S", 60.0)
    await hung.turns(1)

    # Then the launch was asked for again, by the token of the one without an answer
    assert len(set(fleet.asked)) == 1
    assert len(fleet.asked) == 2
    assert hung.keepers[SLOW].alarms == ("its last turn came to no end: a turn took longer than 0.01 s",)
    await hung.turns(1)
    assert hung.keepers[SLOW].alarms == ()


async def test_a_defect_costs_its_own_queue_a_turn_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    given, looked = Pair(Broken), 0

    def count() -> None:
        nonlocal looked
        looked += 1

    monkeypatch.setattr(gauges, "looked", count)
    await given.turns(8)

    assert given.worlds[QUICK].running == 1
    assert given.worlds[SLOW].looks == []
    assert looked == 0  # LeveretScalerStuck tells of a queue that is never looked at


async def test_whoever_leads_no_more_calls_all_turns_off(hung: Pair) -> None:
    fleet = hung.fleets[SLOW]
    assert isinstance(fleet, Hanging)

    class LosingStore(FakeStore):
        async def record(self, fleet: str, **told: Any) -> int:
            while not hanging.asked:
                await asyncio.sleep(0)
            hung.lock.lose()
            hung.lock.away = True
            return await super().record(fleet, **told)

    hanging = fleet
    hung.keepers[QUICK]._ledger = LosingStore(hung.worlds[QUICK])
    async with asyncio.timeout(5):
        await hung.loop.tick()

    assert fleet.called_off == 1
    assert hung.fleets[QUICK].tokens == []
    assert not hung.leader.leading


async def test_a_scaler_that_stops_waits_for_no_cloud(hung: Pair) -> None:
    fleet = hung.fleets[SLOW]
    assert isinstance(fleet, Hanging)
    stopping = asyncio.Event()

    async with asyncio.timeout(5):
        running = asyncio.create_task(hung.loop.run(stopping))
        while not (fleet.asked and hung.fleets[QUICK].tokens):
            await asyncio.sleep(0)
        stopping.set()
        await running

    assert fleet.called_off == 1


async def test_the_locks_session_is_asked_one_question_at_a_time() -> None:
    class Single(FakeLock):
        asking = False

        async def held(self) -> bool:
            assert not self.asking
            self.asking = True
            await asyncio.sleep(0)
            self.asking = False
            return await super().held()

    leader = Leader(Single([]))
    assert await leader.lead()

    await asyncio.gather(leader.confirm(), leader.lead(), leader.confirm())

    leader._lock.lose()  # type: ignore[attr-defined]
    with pytest.raises(LeadershipLost):
        await leader.confirm()


async def test_what_is_canceled_by_nobody_is_told() -> None:
    told: list[str] = []

    async def stray() -> None:
        raise asyncio.CancelledError

    await _turn(stray, told.append)

    assert told == ["a turn was canceled by nobody"]


async def _turn(turn: Callable[[], Awaitable[object]], fail: Callable[[str], None]) -> None:
    under_way = turns.Turns()
    under_way.begin("q", turn, fail)
    assert not await under_way.wait(5)
    assert await under_way.wait(5)
