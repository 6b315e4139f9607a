"""The production scaler on the simulated world: its `decide`, its learning, its choice of offerings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from benchmarks.sim.boxes import Box
from benchmarks.sim.cloud import SPOT_SHARE, TYPE
from benchmarks.sim.world import World
from scaler.launches import Launches
from scaler.learning import Learning
from scaler.offerings import Memory, Menu, Offering, Outcome, Quote, Rules, after, attempts, park
from scaler.policy import decide
from scaler.snapshot import (
    UNKNOWN,
    Backlog,
    Broker,
    Config,
    Decision,
    Demand,
    Machine,
    Snapshot,
    Tier,
    Worker,
    WorkerState,
)

QUEUE = "sim"
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
HEARTBEAT_S = 10.0
"""A worker reads at its next heartbeat that it is to leave."""

Decide = Callable[[Snapshot, Config, float], Decision]


@dataclass(frozen=True, slots=True)
class Served:
    """Jobs that ended, as `scaler.ports.ServedRow`."""

    queue: str
    jobs: int
    mean_s: float
    until: datetime


class Ours:
    """A scaler with one fleet.

    Args:
        config: Its limits and objectives.
        zones: Where it may launch.
        spot: Whether spot machines are on its menu.
        fallback: Whether on-demand machines are.
        blind: Moments, from and to, at which the database can't be had.
        rule: What decides.
    """

    packs = True

    def __init__(
        self,
        config: Config,
        zones: Sequence[str],
        *,
        spot: bool = False,
        fallback: bool = True,
        blind: Sequence[tuple[float, float]] = (),
        rule: Decide = decide,
        interval_s: float = 30.0,
    ) -> None:
        self.interval_s = interval_s
        self._config = config
        quote = Quote(on_demand=1.0 if fallback else None, spot=SPOT_SHARE if spot else None)
        self._menu = Menu({TYPE: quote}, tuple(zones))
        self._blind = blind
        self._rule = rule
        self._memory = Memory()
        self._rules = Rules()
        self._learning = Learning()
        self._launches = Launches(QUEUE)
        self._noticed: set[int] = set()

    def turn(self, world: World) -> None:
        """Look, decide, act."""
        snapshot = self._look(world)
        decision = self._rule(snapshot, self._config, world.now)
        for name in decision.drain:
            world.drain(world.boxes[int(name)], after_s=HEARTBEAT_S)
        for name in decision.terminate:
            world.terminate(world.boxes[int(name)])
        most = self._launches.most
        self._launch(world, decision.launch if most is None else min(most, decision.launch))

    def _look(self, world: World) -> Snapshot:
        blind = any(start <= world.now < end for start, end in self._blind)
        machines = tuple(_machine(box, world.now) for box in (*world.ended, *world.boxes.values()))
        workers = tuple(_worker(box, world.now) for box in (*world.ended, *world.boxes.values()) if box.ready)
        self._launches.watch(machines, UNKNOWN if blind else workers, world.now)
        self._learn(world, machines, workers, blind=blind)
        return Snapshot(
            taken_at=world.now,
            demand=UNKNOWN if blind else _demand(world),
            workers=UNKNOWN if blind else workers,
            machines=machines,
            broker=Broker(ready=world.waiting, consumers=sum(box.ready for box in world.boxes.values())),
            failures=self._launches.failures,
            pace=self._learning.pace_of(QUEUE),
        )

    def _learn(
        self, world: World, machines: Sequence[Machine], workers: Sequence[Worker], *, blind: bool
    ) -> None:
        if blind:
            return
        if world.served:
            count, until = len(world.served), EPOCH + timedelta(seconds=world.now)
            self._learning.serve([Served(QUEUE, count, sum(world.served) / count, until)])
            world.served.clear()
        self._learning.watch(QUEUE, machines, workers)
        for box in world.ended:
            if box.noticed and box.id not in self._noticed:
                # A place that the cloud has just cleared is no place to launch in.
                self._memory = park(self._memory, (box.offering,), self._rules, world.now)
                self._noticed.add(box.id)

    def _launch(self, world: World, count: int) -> None:
        missing = count
        for attempt in attempts(self._menu, self._memory, self._rules, world.now):
            if not missing:
                break
            started, short = (
                world.launch(missing, attempt.offerings) if attempt.offerings else (0, set[Offering]())
            )
            missing -= started
            outcome = Outcome(missing=missing, failed=tuple(sorted(short)))
            self._memory = after(self._memory, attempt, outcome, self._rules, world.now)


def _demand(world: World) -> Demand:
    tiers = {
        tier: Backlog(waiting=len(queue), oldest_s=world.oldest_s(tier), newest_s=world.newest_s(tier))
        for tier, queue in world.queues.items()
    }
    return Demand(tiers=tiers, running=world.running)


def _machine(box: Box, now: float) -> Machine:
    alive = box.ended is None
    return Machine(
        id=str(box.id),
        age_s=(now if box.ended is None else box.ended) - box.launched,
        alive=alive,
        doomed=box.noticed,
    )


def _worker(box: Box, now: float) -> Worker:
    leaving = box.draining or box.asked
    state = WorkerState.GONE if box.ended is not None else _state(box)
    busy = int(box.job is not None)
    return Worker(
        id=str(box.id),
        state=state,
        busy=busy,
        drain=leaving,
        since_s=now - (box.ready_at or now),
        idle_s=None if busy else now - box.idle_since,
    )


def _state(box: Box) -> WorkerState:
    return WorkerState.DRAINING if box.draining else WorkerState.READY


def config(wait_s: float, *, most: int, wait_high_s: float = 120.0, wait_low_s: float = 3600.0) -> Config:
    """The one setting of all scenarios: the defaults, with the objective that is asked for."""
    return Config(max=most, wait_s={Tier.HIGH: wait_high_s, Tier.NORMAL: wait_s, Tier.LOW: wait_low_s})
