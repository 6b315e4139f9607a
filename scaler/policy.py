"""What to do about a fleet, decided from what was observed. Pure: the standard library, no I/O, no clock.

    decide(snapshot, config, now) -> Decision

The same function runs in production and in the simulator. Unknown is never zero: when a part of the snapshot
could not be had the fleet holds, and it never shrinks; at most one worker is started for rows that are known
to wait.

The rule is deadline credit (`scaler.credit`): workers are added where those that are here can't start what
waits in time. Scale-in is a handshake: an idle worker is marked, it leaves by itself, and a machine is
terminated only when its worker is gone, never came, or is lost.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from scaler.credit import Need, Times, boot_deadline_s, needs, times
from scaler.roles import SERVING, Role, Roster, assess, overdue_words
from scaler.snapshot import (
    Backlog,
    Bound,
    Broker,
    Config,
    Crew,
    Decision,
    Demand,
    Failures,
    Snapshot,
    Tier,
    Unknown,
    WorkerState,
)
from scaler.words import listed, seconds

STUCK_S = 120.0


def decide(snapshot: Snapshot, config: Config, now: float) -> Decision:
    """What to do about one fleet.

    Args:
        snapshot: What was observed.
        config: The fleet's limits and objectives.
        now: Seconds, on the clock of `snapshot.taken_at` and `snapshot.failures.last_at`.
    """
    if now - snapshot.taken_at > config.stale_s:
        return _hold(snapshot, "the figures are too old to act on")
    if isinstance(snapshot.machines, Unknown):
        return _hold(snapshot, "the fleet's machines are unknown")
    pause_s = _pause_s(snapshot.failures, config, now)
    if isinstance(snapshot.demand, Unknown) or isinstance(snapshot.workers, Unknown):
        return _decide_blind(snapshot, config, pause_s)
    expected = times(snapshot.pace, config)
    deadline_s = boot_deadline_s(expected, config)
    roster = assess(snapshot.machines, snapshot.workers, snapshot.broker, config, deadline_s=deadline_s)
    return _decide(_Case(snapshot.demand, roster, snapshot.broker, expected, config, pause_s))


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


@dataclass(frozen=True, slots=True)
class _Case:
    """All that is known when everything is."""

    demand: Demand
    roster: Roster
    broker: Broker | Unknown
    expected: Times
    config: Config
    pause_s: float

    @property
    def have(self) -> int:
        return self.roster.count(*SERVING)

    @property
    def jobs(self) -> int:
        return self.demand.waiting + self.demand.running


def _decide(case: _Case) -> Decision:
    needed = needs(case.demand, case.roster, case.expected, case.config)
    most = max(
        needed, key=lambda need: (need.add, need.place == "last", need.waiting - need.credit), default=None
    )
    asked = _asked(case, most.add if most else 0)
    target = _target(case, most.add if most else 0)
    launch = _launch(case, target - case.have)
    drain = _drain(case)
    want = max(target, case.have) - len(drain)
    return Decision(
        want=want,
        have=case.have,
        asked=asked,
        bound=_bound(case, asked, want),
        crew=_crew(case.roster),
        launch=launch,
        drain=drain,
        terminate=case.roster.over,
        late=case.roster.late,
        reason="; ".join(_reason(case, most, want=want, launch=launch, drain=drain)),
        alarms=(*case.roster.alarms, *_stuck(case), *_shut(case)),
    )


def _stuck(case: _Case) -> Iterator[str]:
    """Jobs that wait beside workers with nothing to do: no machine more would help."""
    idle = any(hand.idle_s is not None and hand.idle_s >= STUCK_S for hand in case.roster.of(Role.IDLE))
    if idle and case.demand.waiting and case.demand.oldest_s > STUCK_S and isinstance(case.broker, Broker):
        why = (
            "workers do not take the messages" if case.broker.ready else "the broker has no message for them"
        )
        yield f"jobs have waited for {STUCK_S:g} s though workers are idle: {why}"


def _shut(case: _Case) -> Iterator[str]:
    """Nothing is decided where nothing may be, so that nothing else would tell why jobs wait."""
    if case.demand.waiting and not case.config.max and not case.roster.hands:
        yield "jobs wait, and 0 workers are allowed"


def _target(case: _Case, add: int) -> int:
    """Never more workers than jobs to give them, and one for the first job; the limits have the last word."""
    config = case.config
    useful = max(case.have, config.min, math.ceil(case.jobs / config.slots))
    floor = max(config.min, 1 if case.jobs else 0)
    return min(config.max, useful, max(floor, case.have + add))


def _asked(case: _Case, add: int) -> int:
    """What the jobs alone ask for: where none waits, those at work; else never less than are there."""
    if not case.demand.waiting:
        return max(case.roster.count(Role.BUSY), 1 if case.demand.running else 0)
    return max(1, case.have + add)


def _bound(case: _Case, asked: int, want: int) -> Bound | None:
    """The limit by which another number is wanted; that an idle worker is kept for a while is none."""
    if asked > case.config.max:
        return Bound.MAX
    if want < asked:
        return Bound.JOBS
    return Bound.MIN if asked < want <= case.config.min else None


def _crew(roster: Roster) -> Crew:
    return Crew(
        serving=roster.count(Role.IDLE, Role.BUSY),
        starting=roster.count(Role.BOOTING),
        leaving=roster.count(Role.LEAVING, Role.OVER),
    )


def _launch(case: _Case, missing: int) -> int:
    """Those that are leaving hold their machine until they are gone, so they take room below the maximum."""
    room = case.config.max - len(case.roster.hands)
    return 0 if case.pause_s else max(0, min(missing, room, case.config.launch_step))


def _drain(case: _Case) -> tuple[str, ...]:
    """Whoever was idle for long while nothing waits; one that boots is no reason, for it may never come."""
    if case.demand.waiting:
        return ()
    idle_s = {name: hand.idle_s for name, hand in case.roster.hands.items() if hand.idle_s is not None}
    longest = sorted(idle_s, key=lambda name: (-idle_s[name], name))
    long = [name for name in longest if idle_s[name] >= case.config.idle_s]
    return tuple(long[: max(0, case.roster.count(Role.IDLE, Role.BUSY) - _needed(case))])


def _needed(case: _Case) -> int:
    """Rows may say that a job runs which no heartbeat has told of yet."""
    busy = max(case.roster.count(Role.BUSY), 1 if case.demand.running else 0)
    return max(busy, case.config.min)


def _reason(case: _Case, most: Need | None, *, want: int, launch: int, drain: Sequence[str]) -> Iterator[str]:
    yield _waiting(case.demand)
    yield _present(case.roster)
    if most:
        yield _credit(most, case.expected)
    yield f"{want} of at most {case.config.max} wanted"
    if case.roster.late:
        yield f"{listed(case.roster.late)} {overdue_words(case.config)}"
    if launch:
        yield f"starting {launch}"
    elif case.have < want:
        pause = f"launches fail, next try in {case.pause_s:.0f} s"
        yield pause if case.pause_s else "no room until others left"
    if drain:
        yield f"idle for {case.config.idle_s:g} s, asked to leave: {listed(drain)}"
    if case.roster.over:
        yield f"nobody works there any more, terminating: {listed(case.roster.over)}"


def _waiting(demand: Demand) -> str:
    told = f"{demand.waiting} waiting, {demand.running} running"
    tiers = [(tier, demand.tiers.get(tier, Backlog())) for tier in Tier]
    parts = [f"{b.waiting} {tier}, oldest {b.oldest_s:.0f} s" for tier, b in tiers if b.waiting]
    return f"{told} ({'; '.join(parts)})" if parts else told


def _present(roster: Roster) -> str:
    counts = {role: roster.count(role) for role in (*SERVING, Role.LEAVING)}
    parts = [f"{count} {role.name.lower()}" for role, count in counts.items() if count]
    return f"here: {', '.join(parts) or 'nobody'}"


def _credit(most: Need, expected: Times) -> str:
    """The class that asks for most, and the numbers of the law."""
    return (
        f"{most.tier}: within the {most.left_s:.0f} s left to the {most.place} those here can start"
        f" {most.credit:.1f} of {most.waiting}, one more {most.fresh:.1f}"
        f" (a job takes {seconds(expected.service_s)}, a boot {seconds(expected.boot_s)})"
    )
