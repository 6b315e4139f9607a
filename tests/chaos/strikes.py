"""What a fault did: when, to whom, and how long until the last of those had moved on. Product-free too."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.chaos.books import Books, Change
from tests.chaos.checker import TERMINAL
from tests.chaos.testimony import Subscription

AFTERMATH_S = 2.0


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault that happened.

    Attributes:
        kind: Which.
        began: Seconds since the epoch.
        healed: The same; of a mere blow equal to `began`.
        victims: Of whatever it hits: jobs in hand, connections, requests.
        jobs: In flight under it.
        watchers: Subscriptions it cut off or left deaf.
    """

    kind: str
    began: float
    healed: float
    victims: int
    jobs: frozenset[str] = frozenset()
    watchers: tuple[Subscription, ...] = ()


@dataclass(frozen=True, slots=True)
class Tally:
    """All strikes of one kind.

    Attributes:
        times: How often.
        idle: How often without a victim.
        victims: All of them.
        recovery_s: The longest from healing until the last victim had moved on.
    """

    times: int
    idle: int
    victims: int
    recovery_s: float


def tallies(strikes: Sequence[Strike], books: Books) -> Mapping[str, Tally]:
    """By kind."""
    kinds: defaultdict[str, list[Strike]] = defaultdict(list)
    for strike in strikes:
        kinds[strike.kind].append(strike)
    return {kind: _tally(found, books) for kind, found in sorted(kinds.items())}


def _tally(strikes: Sequence[Strike], books: Books) -> Tally:
    return Tally(
        times=len(strikes),
        idle=sum(not strike.victims for strike in strikes),
        victims=sum(strike.victims for strike in strikes),
        recovery_s=max(recovery_s(strike, books) for strike in strikes),
    )


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
