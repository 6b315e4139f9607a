"""A world in memory for the scaler: machines that take time to boot, workers that drain, rows that wait."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from scaler.looks import Look
from scaler.snapshot import Machine
from shared.adapters.broker import QueueDepth
from shared.adapters.store.fleet import BacklogRow, ServedRow, WorkerRow
from shared.errors import Unavailable
from tests.fakes.clock import FakeClock


@dataclass
class FakeMachine:
    id: str
    started: float
    ended: float | None = None
    busy: int = 0
    drain: bool = False
    idle_since: float | None = None


@dataclass
class World:
    """What the fakes share: one queue, its jobs and its machines."""

    clock: FakeClock
    queue: str = "default"
    boot_s: float = 3.0
    waiting: int = 0
    broken_image: bool = False
    """Machines end as soon as they are started."""
    away: set[str] = field(default_factory=set)
    """Parts that raise: rows, workers, served, broker, fleet, launch, terminate, ledger."""
    machines: dict[str, FakeMachine] = field(default_factory=dict)
    decisions: list[dict[str, Any]] = field(default_factory=list)
    killed_busy: list[str] = field(default_factory=list)
    forgotten: set[str] = field(default_factory=set)
    """Machines that ended while their row still says ready."""
    buried: list[str] = field(default_factory=list)
    metered: dict[str, float] = field(default_factory=dict)
    """For how long each machine has been paid, by the last turn."""
    served: list[ServedRow] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)

    def ask(self, part: str) -> None:
        if part in self.away:
            raise Unavailable(f"{part} is away")

    @property
    def alive(self) -> list[FakeMachine]:
        return [machine for machine in self.machines.values() if machine.ended is None]

    @property
    def running(self) -> int:
        return sum(machine.busy for machine in self.alive)

    def ready(self, machine: FakeMachine) -> bool:
        return self.clock.now() - machine.started >= self.boot_s

    def turn(self) -> None:
        """What workers do between two looks: take a job, and leave when they were asked to and have none."""
        for machine in self.alive:
            if self.broken_image:
                machine.ended = machine.started + 0.1
            elif self.ready(machine) and not machine.drain and self.waiting and not machine.busy:
                machine.busy, machine.idle_since = 1, None
                self.waiting -= 1
            elif self.ready(machine) and not machine.busy and machine.idle_since is None:
                machine.idle_since = self.clock.now()
            if machine.drain and not machine.busy:
                machine.ended = self.clock.now()

    def finish_all(self) -> None:
        for machine in self.alive:
            machine.busy = 0


class FakeFleet:
    """Satisfies `scaler.ports.Fleet`."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.tokens: list[str] = []

    async def machines(self) -> Sequence[Machine]:
        self.world.ask("fleet")
        now = self.world.clock.now()
        return [
            Machine(
                id=machine.id, age_s=(machine.ended or now) - machine.started, alive=machine.ended is None
            )
            for machine in self.world.machines.values()
        ]

    async def launch(self, count: int, *, token: str) -> Sequence[str]:
        self.world.ask("launch")
        self.tokens.append(token)
        names = [f"{token[:6]}-{number}" for number in range(count)]
        for name in names:
            self.world.machines.setdefault(name, FakeMachine(name, self.world.clock.now()))
        return names

    async def terminate(self, ids: Sequence[str]) -> None:
        self.world.ask("terminate")
        for name in ids:
            machine = self.world.machines[name]
            if machine.busy:
                self.world.killed_busy.append(name)
            machine.ended = self.world.clock.now()

    def alarms(self) -> Sequence[str]:
        return ()


@dataclass(frozen=True)
class FakeLaunch:
    """Satisfies `scaler.ports.LastLaunch`."""

    token: str
    count: int
    age_s: float


class FakeStore:
    """Satisfies `scaler.ports.Rows` and `scaler.ports.Ledger`."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def backlog(self) -> Sequence[BacklogRow]:
        self.world.ask("rows")
        world = self.world
        row = BacklogRow(
            queue=world.queue, priority=5, waiting=world.waiting, running=world.running, oldest_s=1.0
        )
        return [row] if world.waiting or world.running else []

    async def workers(self) -> Sequence[WorkerRow]:
        self.world.ask("workers")
        rows = [self._row(machine) for machine in self.world.alive if self.world.ready(machine)]
        return rows + [self._row(self.world.machines[name]) for name in sorted(self.world.forgotten)]

    async def served(self, since: datetime | None) -> Sequence[ServedRow]:
        self.world.ask("served")
        return [row for row in self.world.served if since is None or row.until > since]

    def _row(self, machine: FakeMachine) -> WorkerRow:
        now = self.world.clock.now()
        return WorkerRow(
            id=machine.id,
            queue=self.world.queue,
            state="draining" if machine.drain else "ready",
            slots=1,
            busy=machine.busy,
            drain=machine.drain,
            since_s=now - machine.started - self.world.boot_s,
            idle_s=None if machine.idle_since is None else now - machine.idle_since,
            heartbeat_s=0.0,
        )

    async def last_decision(self, fleet: str) -> int:
        self.world.ask("ledger")
        assert fleet == self.world.queue
        return len(self.world.decisions)

    async def last_launch(self, fleet: str) -> FakeLaunch | None:
        self.world.ask("ledger")
        launches = [decision for decision in self.world.decisions if "token" in decision["actions"]]
        if not launches:
            return None
        actions, at = launches[-1]["actions"], launches[-1]["at"]
        return FakeLaunch(actions["token"], actions["launch"], self.world.clock.now() - at)

    async def record(
        self,
        fleet: str,
        *,
        want: int | None,
        have: int,
        reason: str,
        snapshot: Mapping[str, Any],
        actions: Mapping[str, Any],
    ) -> int:
        self.world.ask("ledger")
        record = {"fleet": fleet, "want": want, "have": have, "reason": reason, "snapshot": snapshot}
        self.world.decisions.append(record | {"actions": actions, "at": self.world.clock.now()})
        return len(self.world.decisions)

    async def drain(self, ids: Sequence[str]) -> Sequence[str]:
        asked = [name for name in ids if not self.world.machines[name].busy]
        for name in asked:
            self.world.machines[name].drain = True
        return asked

    async def bury(self, ids: Sequence[str]) -> Sequence[str]:
        self.world.forgotten -= set(ids)
        self.world.buried += ids
        return ids

    async def meter(self, queue: str, machines: Sequence[Machine]) -> None:
        self.world.ask("ledger")
        self.world.metered = {machine.id: machine.age_s for machine in machines}

    async def see(self, queue: str, look: Look) -> None:
        self.world.ask("ledger")
        self.world.looks.append(look)


class FakeBroker:
    """Satisfies `scaler.ports.Depths`."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def depth(self, queue: str) -> QueueDepth:
        self.world.ask("broker")
        ready = self.world.waiting if queue == self.world.queue else 0
        return QueueDepth(ready=ready, consumers=len(self.world.alive))


class FakeLock:
    """Satisfies `scaler.ports.Lock`; `holder` is shared by all candidates."""

    def __init__(self, holder: list[FakeLock]) -> None:
        self.holder = holder
        self.away = False

    async def acquire(self) -> bool:
        if self.away:
            raise Unavailable("PostgreSQL is away")
        if not self.holder:
            self.holder.append(self)
        return self.holder[0] is self

    async def held(self) -> bool:
        return not self.away and bool(self.holder) and self.holder[0] is self

    def lose(self) -> None:
        """The session ended."""
        self.holder.clear()
