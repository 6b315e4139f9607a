"""What a fault did: when, to whom, and how long until the last of those had moved on. Product-free too."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.chaos.books import Books, Change
from tests.chaos.checker import TERMINAL
from tests.chaos.testimony import Subscription

AFTERMATH_S = 2.0
RUNNING = frozenset({"running"})
QUEUED = frozenset({"queued"})
IN_FLIGHT = RUNNING | QUEUED
"""A worker has the job in hand, or it waits in the queue."""
Stays = Sequence[tuple[str, float, float]]
"""The states of one job in flight: which, from when, until when; seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault that happened.

    Attributes:
        kind: Which.
        began: Seconds since the epoch.
        healed: The same; of a mere blow equal to `began`.
        hits: Of whatever it strikes at once: processes, connections, sessions, requests.
        jobs: Running when it struck, whose next step is waited for.
        watchers: Subscriptions it cut off or left deaf.
        aimed: The only jobs that can be its victims: those of the worker it struck, or those that were
            followed there; None for all.
        suits: States in which a job is its victim.
    """

    kind: str
    began: float
    healed: float
    hits: int
    jobs: frozenset[str] = frozenset()
    watchers: tuple[Subscription, ...] = ()
    aimed: frozenset[str] | None = None
    suits: frozenset[str] = IN_FLIGHT


@dataclass(frozen=True, slots=True)
class Tally:
    """All strikes of one kind.

    Attributes:
        times: How often.
        idle: How often it struck nothing, or no job in flight.
        jobs: In flight under it by the audit, in a state that suits; summed over its strikes.
        hits: What it struck, summed as well.
        recovery_s: The longest from healing until the last victim had moved on.
    """

    times: int
    idle: int
    jobs: int
    hits: int
    recovery_s: float


def tallies(strikes: Sequence[Strike], books: Books) -> Mapping[str, Tally]:
    """By kind."""
    kinds: defaultdict[str, list[Strike]] = defaultdict(list)
    for strike in strikes:
        kinds[strike.kind].append(strike)
    stays = {job_id: _stays(changes) for job_id, changes in books.changes.items()}
    return {kind: _tally(found, books, stays) for kind, found in sorted(kinds.items())}


def _tally(strikes: Sequence[Strike], books: Books, stays: Mapping[str, Stays]) -> Tally:
    jobs = [len(victims(strike, stays)) for strike in strikes]
    return Tally(
        times=len(strikes),
        idle=sum(not (strike.hits and count) for strike, count in zip(strikes, jobs, strict=True)),
        jobs=sum(jobs),
        hits=sum(strike.hits for strike in strikes),
        recovery_s=max(recovery_s(strike, books) for strike in strikes),
    )


def victims(strike: Strike, stays: Mapping[str, Stays]) -> list[str]:
    """The jobs that were in flight under it, whatever it believed of them when it struck."""
    candidates = stays if strike.aimed is None else strike.aimed
    return [job_id for job_id in candidates if _met(strike, stays.get(job_id, ()))]


def _met(strike: Strike, stays: Stays) -> bool:
    return any(
        state in strike.suits and begins <= strike.healed and ends >= strike.began
        for state, begins, ends in stays
    )


def _stays(changes: Sequence[Change]) -> Stays:
    moves = [each for each in changes if each.what.startswith("job ")]
    ends = [each.at for each in moves[1:]] + [float("inf")]
    return [
        (each.state, each.at, end)
        for each, end in zip(moves, ends, strict=True)
        if each.state in IN_FLIGHT and each.state is not None
    ]


def recovery_s(strike: Strike, books: Books) -> float:
    """Seconds from healing until work goes on: some job is claimed, every job that was running has had its
    next step, and every watcher what was committed meanwhile.
    """
    steps = [_next_step(books.changes.get(job_id, ()), strike.began) for job_id in strike.jobs]
    steps.append(_next_claim(books, strike.healed))
    lags = [step - strike.healed for step in steps if step is not None]
    lags += [lag for watcher in strike.watchers for lag in _lags(watcher, strike, books)]
    return max([0.0, *lags])


def _next_claim(books: Books, after: float) -> float | None:
    claims = (each.at for changes in books.changes.values() for each in changes if each.state == "running")
    return min((at for at in claims if at > after), default=None)


def _next_step(changes: Iterable[Change], after: float) -> float | None:
    return next((each.at for each in changes if each.what == "job changed" and each.at > after), None)


def _lags(watcher: Subscription, strike: Strike, books: Books) -> Iterable[float]:
    """How late it got what was committed while the fault lasted, or right after."""
    arrived = {seq: moment for seq, _, moment in watcher.got}
    for each in books.changes.get(watcher.job_id, ()):
        during = each.what == "event" and strike.began <= each.at <= strike.healed + AFTERMATH_S
        if during and each.seq in arrived:
            yield arrived[each.seq] - max(each.at, strike.healed)


def overlapping(strikes: Sequence[Strike], books: Books) -> float:
    """The share of jobs that were in flight during at least one fault."""
    spans = [_span(changes) for changes in books.changes.values()]
    hit = sum(
        any(strike.began <= ended and strike.healed >= began for strike in strikes) for began, ended in spans
    )
    return hit / len(spans) if spans else 0.0


def _span(changes: Sequence[Change]) -> tuple[float, float]:
    ended = next((each.at for each in changes if each.state in TERMINAL), float("inf"))
    return changes[0].at, ended
