"""What to do about a fleet, decided from what was observed. Pure: the standard library, no I/O, no clock.

    decide(snapshot, config, now) -> Decision

The same function runs in production and on a simulated clock. Unknown is never zero: when a part of the
snapshot could not be had the fleet holds, and it never shrinks; at most one worker is started for rows that
are known to wait.

The rule is a depth rule: a worker for every `per_worker` jobs. Scale-in is a handshake: an idle worker is
marked, it leaves by itself, and a machine is terminated only when its worker is gone, never came, or is lost.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from scaler.snapshot import (
    Broker,
    Config,
    Decision,
    Demand,
    Failures,
    Machine,
    Snapshot,
    Unknown,
    Worker,
    WorkerState,
)


def decide(snapshot: Snapshot, config: Config, now: float) -> Decision:
    """What to do about one fleet.

    Args:
        snapshot: What was observed.
        config: The fleet's limits.
        now: Seconds, on the clock of `snapshot.taken_at` and `snapshot.failures.last_at`.
    """
    if now - snapshot.taken_at > config.stale_s:
        return _hold(snapshot, "the figures are too old to act on")
    if isinstance(snapshot.machines, Unknown):
        return _hold(snapshot, "the fleet's machines are unknown")
    pause_s = _pause_s(snapshot.failures, config, now)
    if isinstance(snapshot.demand, Unknown) or isinstance(snapshot.workers, Unknown):
        return _decide_blind(snapshot, config, pause_s)
    fleet = _assess(snapshot.machines, snapshot.workers, snapshot.broker, config)
    return _decide_by_depth(snapshot.demand, fleet, config, pause_s)


def backoff_s(failures: int, config: Config) -> float:
    """Seconds to wait after so many failed launches in a row: doubling, up to the cap."""
    if failures == 0:
        return 0.0
    return min(config.backoff_cap_s, config.backoff_s * 2.0 ** min(failures - 1, 32))


def _pause_s(failures: Failures, config: Config, now: float) -> float:
    return max(0.0, failures.last_at + backoff_s(failures.count, config) - now)


def _hold(snapshot: Snapshot, why: str) -> Decision:
    return Decision(want=None, have=_known_to_live(snapshot), reason=f"hold: {why}")


def _known_to_live(snapshot: Snapshot) -> int:
    """Whoever may be at work, by whichever list is known."""
    machines = () if isinstance(snapshot.machines, Unknown) else snapshot.machines
    workers = () if isinstance(snapshot.workers, Unknown) else snapshot.workers
    ended = {machine.id for machine in machines if not machine.alive}
    living = {machine.id for machine in machines if machine.alive}
    return len(living | {worker.id for worker in workers if worker.state is not WorkerState.GONE} - ended)


def _decide_blind(snapshot: Snapshot, config: Config, pause_s: float) -> Decision:
    """Rows or workers are unknown: never shrink, and start one worker where nobody is and rows wait."""
    missing = "rows" if isinstance(snapshot.demand, Unknown) else "workers"
    waiting = _jobs_by_any_source(snapshot)
    if _known_to_live(snapshot) or not waiting or not config.max or pause_s:
        return _hold(snapshot, f"the {missing} are unknown")
    return Decision(
        want=1, have=0, launch=1, reason=f"the {missing} are unknown, {waiting} jobs are known: starting 1"
    )


def _jobs_by_any_source(snapshot: Snapshot) -> int:
    if not isinstance(snapshot.demand, Unknown):
        return snapshot.demand.waiting + snapshot.demand.running
    return 0 if isinstance(snapshot.broker, Unknown) else snapshot.broker.ready


class _Role(enum.Enum):
    BOOTING = enum.auto()
    IDLE = enum.auto()
    BUSY = enum.auto()
    LEAVING = enum.auto()
    """On its way out, or not heard of: no capacity, and not ours to hurry."""
    OVER = enum.auto()
    """Nobody works there any more: to be terminated."""


_SERVING = (_Role.BOOTING, _Role.IDLE, _Role.BUSY)


@dataclass(frozen=True, slots=True)
class _Fleet:
    """Every living machine or worker and its role, with the alarms that came up."""

    roles: Mapping[str, _Role]
    idle_s: Mapping[str, float]
    """Of the fleet's own idle workers."""
    alarms: tuple[str, ...]

    def count(self, *roles: _Role) -> int:
        return sum(role in roles for role in self.roles.values())

    @property
    def over(self) -> tuple[str, ...]:
        return tuple(sorted(name for name, role in self.roles.items() if role is _Role.OVER))


def _assess(
    machines: Iterable[Machine], workers: Iterable[Worker], broker: Broker | Unknown, config: Config
) -> _Fleet:
    records = {worker.id: worker for worker in workers}
    own = {machine.id: machine for machine in machines}
    deserted = not isinstance(broker, Unknown) and broker.consumers == 0
    roles = {
        name: _role(machine, records.get(name), config, deserted=deserted)
        for name, machine in own.items()
        if machine.alive
    }
    # Workers that somebody else started serve as well, but are not ours to stop.
    others = [record for name, record in records.items() if name not in own]
    heard = {record.id: _serving(record, config) for record in others if _is_heard(record, broker, config)}
    roles |= {name: role for name, role in heard.items() if role in _SERVING}
    idle_s = {name: records[name].idle_s or 0.0 for name in own if roles.get(name) is _Role.IDLE}
    return _Fleet(roles, idle_s, tuple(_contradictions(roles, records, config, deserted=deserted)))


def _role(machine: Machine, record: Worker | None, config: Config, *, deserted: bool) -> _Role:
    if record is None or record.state is WorkerState.STARTING:
        return _Role.OVER if machine.age_s > config.boot_s else _Role.BOOTING
    return _Role.OVER if _is_over(record, config, deserted=deserted) else _serving(record, config)


def _is_over(record: Worker, config: Config, *, deserted: bool) -> bool:
    if record.state is WorkerState.GONE:
        return record.since_s > config.leave_s
    if record.heartbeat_s > config.lost_s:
        return deserted and record.heartbeat_s > 2 * config.lost_s
    return record.state is WorkerState.DRAINING and not record.busy and record.since_s > config.drain_s


def _is_heard(record: Worker, broker: Broker | Unknown, config: Config) -> bool:
    """Whether to believe the row of a worker that no machine of the fleet stands behind: it may have died."""
    deserted = not isinstance(broker, Unknown) and broker.deserted
    consumes = record.state is not WorkerState.STARTING
    return record.heartbeat_s <= config.silent_s and not (deserted and consumes)


def _serving(record: Worker, config: Config) -> _Role:
    leaving = record.drain or record.state in (WorkerState.DRAINING, WorkerState.GONE)
    if leaving or record.heartbeat_s > config.lost_s:
        return _Role.LEAVING
    if record.state is WorkerState.STARTING:
        return _Role.BOOTING
    return _Role.BUSY if record.busy or record.idle_s is None else _Role.IDLE


def _contradictions(
    roles: Mapping[str, _Role], records: Mapping[str, Worker], config: Config, *, deserted: bool
) -> Iterable[str]:
    ready = [name for name, role in roles.items() if role is _Role.IDLE]
    settled = [name for name in ready if records[name].since_s > config.lost_s]
    if deserted and settled:
        yield f"{', '.join(sorted(settled))} reports ready, but the broker has no consumer on this queue"


def _decide_by_depth(demand: Demand, fleet: _Fleet, config: Config, pause_s: float) -> Decision:
    have = fleet.count(*_SERVING)
    target = _target(demand, fleet.count(_Role.BUSY), config)
    launch = _launch(target - have, len(fleet.roles), config, pause_s)
    # One that boots is no reason to send another away: it may never come.
    drain = _drain(demand, fleet, fleet.count(_Role.IDLE, _Role.BUSY) - target, config)
    return Decision(
        want=max(target, have - len(drain)),
        have=have,
        launch=launch,
        drain=drain,
        terminate=fleet.over,
        reason=_reason(demand, fleet, config, target=target, launch=launch, drain=drain, pause_s=pause_s),
        alarms=fleet.alarms,
    )


def _target(demand: Demand, busy: int, config: Config) -> int:
    jobs = demand.waiting + demand.running
    floor = max(config.min, busy, 1 if jobs else 0)
    return min(config.max, max(floor, math.ceil(jobs / config.per_worker)))


def _launch(missing: int, present: int, config: Config, pause_s: float) -> int:
    """Those that are leaving hold their machine until they are gone, so they take room below the maximum."""
    return 0 if pause_s else max(0, min(missing, config.max - present, config.launch_step))


def _drain(demand: Demand, fleet: _Fleet, surplus: int, config: Config) -> tuple[str, ...]:
    if demand.waiting or surplus <= 0:
        return ()
    longest = sorted(fleet.idle_s, key=lambda name: (-fleet.idle_s[name], name))
    return tuple(name for name in longest if fleet.idle_s[name] >= config.idle_s)[:surplus]


def _reason(
    demand: Demand,
    fleet: _Fleet,
    config: Config,
    *,
    target: int,
    launch: int,
    drain: tuple[str, ...],
    pause_s: float,
) -> str:
    have = fleet.count(*_SERVING)
    words = [f"{demand.waiting} waiting, {demand.running} running: {target} of at most {config.max} wanted"]
    words.append(f"{have} here")
    if launch:
        words.append(f"starting {launch}")
    elif have < target:
        words.append(
            f"launches fail, next try in {pause_s:.0f} s" if pause_s else "no room until others left"
        )
    if drain:
        words.append(f"idle for {config.idle_s:g} s, asked to leave: {', '.join(drain)}")
    if fleet.over:
        words.append(f"nobody works there any more, terminating: {', '.join(fleet.over)}")
    return "; ".join(words)
