"""The figures as one Markdown table, with what they were measured on. Prints nothing itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.figures import median
from benchmarks.memory import LIMIT_MB
from benchmarks.plan import CLIENTS, SLOTS
from benchmarks.tables import brackets, markdown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from benchmarks.figures import Spread
    from benchmarks.load import LoadResult
    from benchmarks.measuring import Figures

Row = tuple[str, str, str, str]
HEAD: Row = ("", "Leveret", "Celery", "Leveret ÷ Celery")
WAYS = {
    "held": "one HTTP call held until the result",
    "pushed": "HTTP submit, then pushed result",
    "fetched": "held call, value downloaded",
}
ROLES = {"gateway": "HTTP process", "worker": "worker's parent", "child": "worker's child"}
LIMITED = ("gateway", "worker")


def table(figures: Figures) -> str:
    """Every figure beside the peer's."""
    return markdown([HEAD, *_submits(figures), *_drains(figures), *_latencies(figures), *_held(figures)])


def _submits(figures: Figures) -> Iterator[Row]:
    for clients in CLIENTS:
        ours, theirs = figures.submits["Leveret", clients], figures.submits["Celery", clients]
        who = f"submit, {clients} client{'s' if clients > 1 else ''}"
        yield _rates(f"{who}: accepted/s", _of(ours, lambda one: one.rate), _of(theirs, lambda one: one.rate))
        for name, pick in (("p50", _p50), ("p99", _p99)):
            yield _times(
                f"{who}: {name} ms",
                [pick(one.latency) for one in ours],
                [pick(one.latency) for one in theirs],
            )


def _of(results: Iterable[LoadResult], pick: Callable[[LoadResult], float]) -> list[float]:
    return [pick(result) for result in results]


def _p50(spread: Spread) -> float:
    return spread.p50


def _p99(spread: Spread) -> float:
    return spread.p99


def _drains(figures: Figures) -> Iterator[Row]:
    theirs = figures.drains["Celery", 1]
    for slots in SLOTS:
        yield _rates(
            f"no-op drain, {slots} slot{'s' if slots > 1 else ''} (Celery: -c 1): jobs/s",
            figures.drains["Leveret", slots],
            theirs,
        )


def _latencies(figures: Figures) -> Iterator[Row]:
    for way, told in WAYS.items():
        ours, theirs = figures.latencies["Leveret", way], figures.latencies["Celery", way]
        for name, pick in (("p50", _p50), ("p99", _p99)):
            yield _times(f"{told}: {name} ms", [pick(one) for one in ours], [pick(one) for one in theirs])


def _held(figures: Figures) -> Iterator[Row]:
    for role, told in ROLES.items():
        for moment in ("idle", "after"):
            ours, theirs = figures.held["Leveret", role, moment], figures.held["Celery", role, moment]
            verdict = f" {'ok' if ours.rss <= LIMIT_MB else 'OVER'}" if role in LIMITED else ""
            cells = [f"{held.rss:.0f} ({held.pss:.0f})" for held in (ours, theirs)]
            yield (
                f"memory, {told}, {moment}: MB RSS (PSS)",
                cells[0] + verdict,
                cells[1],
                _ratio(ours.rss, theirs.rss),
            )


def _rates(name: str, ours: Sequence[float], theirs: Sequence[float]) -> Row:
    return name, _rate(ours), _rate(theirs), _ratio(median(ours), median(theirs))


def _rate(rounds: Sequence[float]) -> str:
    return brackets(rounds)


def _times(name: str, ours: Sequence[float], theirs: Sequence[float]) -> Row:
    return name, _ms(ours), _ms(theirs), _ratio(median(ours), median(theirs))


def _ms(rounds: Sequence[float]) -> str:
    return f"{median(rounds) * 1000:.1f}"


def _ratio(ours: float, theirs: float) -> str:
    return f"{ours / theirs:.2f}"


def client_note(figures: Figures) -> str:
    """Whether the load was the bottleneck."""
    if figures.ceiling is None:
        return ""
    shares = [result.client_cpu for results in figures.submits.values() for result in results]
    best = max(result.rate for results in figures.submits.values() for result in results)
    return (
        f"The load reaches {figures.ceiling.rate:,.0f}/s against a server that does nothing, "
        f"{figures.ceiling.rate / best:.0f} times the best figure above; "
        f"it took {min(shares):.0%}-{max(shares):.0%} of one core."
    )
