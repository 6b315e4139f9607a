"""Jobs, workers and records around the fake cloud, and the real scaler on top: `Estate` is the whole of it.

Workers do what real ones do as far as the scaler can see it: they are heard of when they are ready, take one
job at a time, leave when they were asked to and have none, and fall silent when their machine ends.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scaler.fleet.budget import HOUR_S, MINUTE_S, Budget
from scaler.fleet.ec2 import Ec2Fleet, Means
from scaler.fleet.inventory import Inventory
from scaler.keeper import Keeper
from scaler.leader import Leader
from scaler.looks import Look
from scaler.loop import Loop
from scaler.observer import Observer, Problems
from scaler.offerings import Menu, Quote, Rules
from scaler.ports import Ledger
from scaler.snapshot import Config, Machine, Tier
from shared.adapters.broker import QueueDepth
from shared.adapters.store.fleet import REMEMBERED_S, BacklogRow, WorkerRow
from shared.errors import Unavailable
from tests.fakes.clock import FakeClock
from tests.fakes.cloud import FakeCloud, FakeInstance, Habits
from tests.fakes.fleet import FakeLaunch, FakeLock

QUEUE = "images"
MENU = Menu({"small": Quote(on_demand=1.0, spot=0.3), "big": Quote(on_demand=2.0, spot=0.5)}, ("a", "b"))
BEAT_S = 10.0


@dataclass
class FakeWorker:
    """One that was heard of."""

    machine: FakeInstance
    since: float
    job: float | None = None
    """When the job in hand is done."""
    idle_since: float | None = None
    drain: bool = False
    state: str = "ready"
    heard: float = 0.0
    served: int = 0


@dataclass
class Estate:
    """The world: everything but the scaler."""

    clock: FakeClock = field(default_factory=FakeClock)
    habits: Habits = field(default_factory=Habits)
    seed: int = 1
    service_s: float = 30.0
    dies_after: float | None = None
    """Workers end so long after they got ready: a broken model, a full disk."""
    away: set[str] = field(default_factory=set)
    """Parts that raise: rows, workers, broker, ledger."""
    waiting: deque[float] = field(default_factory=deque)
    workers: dict[str, FakeWorker] = field(default_factory=dict)
    decisions: list[dict[str, Any]] = field(default_factory=list)
    done: int = 0
    killed_busy: list[str] = field(default_factory=list)
    buried: list[str] = field(default_factory=list)
    metered: dict[str, Machine] = field(default_factory=dict)
    """Every machine that was paid for, as it was told of last."""
    looks: list[Look] = field(default_factory=list)
    ghosts: int = 0
    """Consumers that the broker claims to see."""

    def __post_init__(self) -> None:
        self.cloud = FakeCloud(self.clock, self.habits, self.seed)

    def submit(self, count: int) -> None:
        self.waiting.extend([self.clock.now()] * count)

    def ask(self, part: str) -> None:
        if part in self.away:
            raise Unavailable(f"{part} is away")

    def pass_time(self, seconds: float, step_s: float = 5.0) -> None:
        """Let the machines and workers live for so long."""
        end = self.clock.now() + seconds
        while self.clock.now() < end:
            self.clock.advance(min(step_s, end - self.clock.now()))
            self.cloud.live()
            self._arrive()
            for worker in self.workers.values():
                self._live(worker, self.clock.now())

    def _arrive(self) -> None:
        now = self.clock.now()
        for machine in self.cloud.alive:
            if machine.ready <= now and machine.id not in self.workers:
                self.workers[machine.id] = FakeWorker(machine, now, idle_since=now)

    def _live(self, worker: FakeWorker, now: float) -> None:
        if self.dies_after is not None and now - worker.since >= self.dies_after:
            worker.machine.end(now, "Client.InstanceInitiatedShutdown")
        if not worker.machine.alive:
            self._lose(worker)
        elif worker.state != "gone":
            worker.heard = now
            self._work(worker, now)

    def _lose(self, worker: FakeWorker) -> None:
        """Its machine ended: what it had in hand goes back."""
        if worker.job is None:
            return
        worker.job = None
        self.waiting.appendleft(self.clock.now())
        if worker.machine.reason == "Client.UserInitiatedShutdown":
            self.killed_busy.append(worker.machine.id)

    def _work(self, worker: FakeWorker, now: float) -> None:
        if worker.job is not None and now >= worker.job:
            worker.job, worker.idle_since = None, now
            self.done += 1
        if worker.job is None and worker.drain:
            worker.state, worker.since = "gone", now
        elif worker.job is None and self.waiting:
            self.waiting.popleft()
            worker.job, worker.idle_since = now + self.service_s, None


class FakeRecords:
    """Satisfies `scaler.ports.Rows`, `Ledger` and `Depths`."""

    def __init__(self, estate: Estate) -> None:
        self.estate = estate

    async def backlog(self) -> Sequence[BacklogRow]:
        self.estate.ask("rows")
        estate, now = self.estate, self.estate.clock.now()
        running = sum(worker.job is not None for worker in estate.workers.values())
        oldest_s = now - min(estate.waiting, default=now)
        waiting = len(estate.waiting)
        row = BacklogRow(queue=QUEUE, priority=5, waiting=waiting, running=running, oldest_s=oldest_s)
        return [row] if waiting or running else []

    async def workers(self) -> Sequence[WorkerRow]:
        self.estate.ask("workers")
        rows = [self._row(worker) for worker in self.estate.workers.values()]
        return [row for row in rows if row.heartbeat_s <= REMEMBERED_S]

    async def served(self, since: object) -> Sequence[Any]:
        return ()

    async def depth(self, queue: str) -> QueueDepth:
        self.estate.ask("broker")
        serving = sum(w.machine.alive and w.state == "ready" for w in self.estate.workers.values())
        return QueueDepth(ready=len(self.estate.waiting), consumers=serving + self.estate.ghosts)

    async def last_decision(self, fleet: str) -> int:
        self.estate.ask("ledger")
        return len(self.estate.decisions)

    async def last_launch(self, fleet: str) -> FakeLaunch | None:
        self.estate.ask("ledger")
        for told in reversed(self.estate.decisions):
            if "token" in told["actions"]:
                age_s = self.estate.clock.now() - told["at"]
                return FakeLaunch(told["actions"]["token"], told["actions"]["launch"], age_s)
        return None

    async def record(self, fleet: str, *, actions: Mapping[str, Any], **told: Any) -> int:
        self.estate.ask("ledger")
        self.estate.decisions.append({**told, "actions": actions, "at": self.estate.clock.now()})
        return len(self.estate.decisions)

    async def drain(self, ids: Sequence[str]) -> Sequence[str]:
        self.estate.ask("ledger")
        idle = [name for name in ids if self.estate.workers[name].job is None]
        for name in idle:
            self.estate.workers[name].drain = True
        return idle

    async def bury(self, ids: Sequence[str]) -> Sequence[str]:
        self.estate.ask("ledger")
        for name in ids:
            self.estate.workers[name].state = "gone"
        self.estate.buried += ids
        return ids

    async def meter(self, queue: str, machines: Sequence[Machine]) -> None:
        self.estate.ask("ledger")
        self.estate.metered |= {machine.id: machine for machine in machines if machine.alive}

    async def see(self, queue: str, look: Look) -> None:
        self.estate.ask("ledger")
        self.estate.looks.append(look)

    def _row(self, worker: FakeWorker) -> WorkerRow:
        now = self.estate.clock.now()
        return WorkerRow(
            id=worker.machine.id,
            queue=QUEUE,
            state=worker.state,
            slots=1,
            busy=int(worker.job is not None),
            drain=worker.drain,
            since_s=now - worker.since,
            idle_s=None if worker.idle_since is None else now - worker.idle_since,
            heartbeat_s=max(0.0, now - worker.heard),
        )


class Scaler:
    """The real loop, keeper and EC2 fleet on an estate."""

    def __init__(
        self,
        estate: Estate,
        *,
        lock: FakeLock | None = None,
        menu: Menu = MENU,
        per_minute: int = 20,
        per_hour: int = 100,
        records: Callable[[Estate], FakeRecords] = FakeRecords,
        **limits: Any,
    ) -> None:
        self.estate = estate
        self.lock = lock or FakeLock([])
        self.records = records(estate)
        # An objective that has passed before anybody looks: as many workers as jobs.
        usual: dict[str, Any] = {
            "max": 5,
            "boot_s": 600.0,
            "stale_s": 90.0,
            "wait_s": dict.fromkeys(Tier, 1.0),
        }
        config = Config(**(usual | limits))
        clock, problems, leader = estate.clock, Problems(), Leader(self.lock)
        means = Means(
            menu=menu,
            rules=Rules(),
            template="leveret-images",
            launches=Budget("launches", {MINUTE_S: per_minute, HOUR_S: per_hour}, clock),
            ends=Budget("terminations", {MINUTE_S: per_minute}, clock),
        )
        self.fleet = Ec2Fleet(QUEUE, estate.cloud, Inventory(estate.cloud, [QUEUE], clock), means, clock)
        ledger: Ledger = self.records
        self.keeper = Keeper(
            QUEUE, self.fleet, config, ledger=ledger, leader=leader, clock=clock, problems=problems
        )
        observer = Observer(self.records, self.records, problems, clock)
        self.loop = Loop([self.keeper], observer, leader, clock, interval_s=30.0)
        self.alarms: set[str] = set()

    async def turns(self, count: int, every_s: float = 30.0) -> None:
        """Tick, then let the world go on, so many times."""
        for _ in range(count):
            await self.loop.tick()
            self.alarms |= set(self.keeper.alarms)
            self.estate.pass_time(every_s)

    async def until_done(self, jobs: int, turns: int = 400) -> None:
        """Tick until so many jobs are done."""
        for _ in range(turns):
            if self.estate.done >= jobs:
                return
            await self.turns(1)
        raise AssertionError(f"{self.estate.done} of {jobs} done after {turns} turns")


def calm(**habits: Any) -> Habits:
    """A cloud where every launch succeeds."""
    return dataclasses.replace(Habits(failing=0.0, silent=0.0), **habits)
