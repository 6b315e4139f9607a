"""Who is who in a fleet: what every living machine or worker is good for. Pure: the standard library, no I/O.

Only those that serve, or are about to, are capacity. Whoever drains, is silent, has been given notice by its
cloud or is past its boot deadline is not, whatever its row says.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from scaler.snapshot import Broker, Config, Machine, Unknown, Worker, WorkerState
from scaler.words import listed


class Role(enum.Enum):
    """What one is to the fleet."""

    BOOTING = enum.auto()
    IDLE = enum.auto()
    BUSY = enum.auto()
    LEAVING = enum.auto()
    """On its way out, or not heard of: no capacity, and not ours to hurry."""
    OVER = enum.auto()
    """Nobody works there any more: to be terminated."""


SERVING = (Role.BOOTING, Role.IDLE, Role.BUSY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hand:
    """One living machine or worker.

    Attributes:
        slots: Jobs it takes at a time.
        busy: Of these, those in its hands.
        age_s: Since its launch.
        idle_s: Without a job for so long; None for one that may not be sent away.
    """

    role: Role
    slots: int = 1
    busy: int = 0
    age_s: float = 0.0
    idle_s: float | None = None


@dataclass(frozen=True, slots=True)
class Roster:
    """Every living machine or worker by id, with the contradictions that came up.

    Attributes:
        late: Those that were asked to leave too long ago and are still there.
    """

    hands: Mapping[str, Hand]
    alarms: tuple[str, ...] = ()
    late: tuple[str, ...] = ()

    def of(self, *roles: Role) -> Iterable[Hand]:
        """Those in any of these roles."""
        return (hand for hand in self.hands.values() if hand.role in roles)

    def count(self, *roles: Role) -> int:
        """How many there are."""
        return sum(1 for _ in self.of(*roles))

    @property
    def over(self) -> tuple[str, ...]:
        """The machines to terminate."""
        return tuple(sorted(name for name, hand in self.hands.items() if hand.role is Role.OVER))


@dataclass(frozen=True, slots=True)
class _Sight:
    config: Config
    deadline_s: float
    deserted: bool
    """The broker sees no consumer."""


def assess(
    machines: Iterable[Machine],
    workers: Iterable[Worker],
    broker: Broker | Unknown,
    config: Config,
    *,
    deadline_s: float,
) -> Roster:
    """Give everybody a role.

    Args:
        machines: The fleet's own.
        workers: Everybody's records.
        broker: Its word decides whether a silent worker is lost.
        config: The fleet's limits.
        deadline_s: A machine that is not ready by then is given up.
    """
    sight = _Sight(config, deadline_s, not isinstance(broker, Unknown) and broker.consumers == 0)
    records = {worker.id: worker for worker in workers}
    own = {machine.id: machine for machine in machines}
    hands = {name: _own(machine, records.get(name), sight) for name, machine in own.items() if machine.alive}
    # Workers that somebody else started serve as well, but are not ours to stop.
    others = [worker for name, worker in records.items() if name not in own]
    heard = {worker.id: _foreign(worker, config) for worker in others if _is_heard(worker, broker, config)}
    hands |= {name: hand for name, hand in heard.items() if hand.role in SERVING}
    late = _late(hands, records, config)
    return Roster(hands, tuple(_contradictions(hands, records, sight, late)), late)


def _own(machine: Machine, record: Worker | None, sight: _Sight) -> Hand:
    role = _role(machine, record, sight)
    if record is None:
        return Hand(role=role, slots=sight.config.slots, age_s=machine.age_s)
    settled_s = min(sight.config.settled_s, sight.config.idle_s)
    may_go = role is Role.IDLE and record.since_s >= settled_s
    return _hand(role, record, age_s=machine.age_s, idle_s=record.idle_s if may_go else None)


def _foreign(record: Worker, config: Config) -> Hand:
    return _hand(_serving(record, config), record, age_s=record.since_s, idle_s=None)


def _hand(role: Role, record: Worker, *, age_s: float, idle_s: float | None) -> Hand:
    # One that tells no idle time has a job, whatever it counts.
    busy = min(record.slots, max(record.busy, 1)) if role is Role.BUSY else record.busy
    return Hand(role=role, slots=record.slots, busy=busy, age_s=age_s, idle_s=idle_s)


def _role(machine: Machine, record: Worker | None, sight: _Sight) -> Role:
    role = _heard_role(machine, record, sight)
    return Role.LEAVING if machine.doomed and role in SERVING else role


def _heard_role(machine: Machine, record: Worker | None, sight: _Sight) -> Role:
    if record is None or record.state is WorkerState.STARTING:
        given_up = machine.refused or machine.age_s > sight.deadline_s
        return Role.OVER if given_up else Role.BOOTING
    return Role.OVER if _is_over(record, sight) else _serving(record, sight.config)


def _is_over(record: Worker, sight: _Sight) -> bool:
    if record.state is WorkerState.GONE:
        return record.since_s > sight.config.leave_s
    if record.heartbeat_s > sight.config.lost_s:
        return sight.deserted and record.heartbeat_s > 2 * sight.config.lost_s
    left = record.state is WorkerState.DRAINING and not record.busy
    return left and record.since_s > sight.config.drain_s


def _is_heard(record: Worker, broker: Broker | Unknown, config: Config) -> bool:
    """Whether to believe the row of a worker that no machine of the fleet stands behind: it may have died."""
    deserted = not isinstance(broker, Unknown) and broker.deserted
    consumes = record.state is not WorkerState.STARTING
    return record.heartbeat_s <= config.silent_s and not (deserted and consumes)


def _serving(record: Worker, config: Config) -> Role:
    leaving = record.drain or record.state in (WorkerState.DRAINING, WorkerState.GONE)
    if leaving or record.heartbeat_s > config.lost_s:
        return Role.LEAVING
    if record.state is WorkerState.STARTING:
        return Role.BOOTING
    return Role.BUSY if record.busy or record.idle_s is None else Role.IDLE


def _late(hands: Mapping[str, Hand], records: Mapping[str, Worker], config: Config) -> tuple[str, ...]:
    """Nobody at work is ended, so one that never leaves is paid for until somebody looks."""
    leaving = [records[name] for name, hand in hands.items() if hand.role is Role.LEAVING and name in records]
    return tuple(sorted(w.id for w in leaving if w.leaving_s is not None and w.leaving_s > config.patience_s))


def _contradictions(
    hands: Mapping[str, Hand], records: Mapping[str, Worker], sight: _Sight, late: tuple[str, ...]
) -> Iterable[str]:
    if late:
        yield f"{listed(late)} {overdue_words(sight.config)}"
    ready = [name for name, hand in hands.items() if hand.role is Role.IDLE]
    settled = [name for name in ready if records[name].since_s > sight.config.lost_s]
    if sight.deserted and settled:
        yield f"{listed(settled)} reports ready, but the broker has no consumer on this queue"


def overdue_words(config: Config) -> str:
    """What is wrong with one that is late."""
    return f"was asked to leave more than {config.patience_s / 60:.0f} min ago and is still there"
