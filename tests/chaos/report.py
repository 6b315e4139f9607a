"""The table at the end of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tests.chaos.checker import Verdict
from tests.chaos.strikes import Tally

SHOWN = 5


def table(verdict: Verdict, faults: Mapping[str, Tally], overlap: float) -> Iterator[str]:
    """Lines: the counts, what must be zero, the faults."""
    yield "  ".join(f"{name} {count}" for name, count in verdict.counts.items())
    yield ""
    yield "must be zero:"
    for name, found in verdict.bold.items():
        yield f"  {name:<26}{len(found):>6}  {' '.join(found[:SHOWN])}"
    yield ""
    yield f"jobs that met a fault: {overlap:.0%}"
    yield f"  {'fault':<28}{'times':>6}{'idle':>6}{'victims':>9}{'worst recovery':>16}"
    for kind, tally in faults.items():
        yield f"  {kind:<28}{tally.times:>6}{tally.idle:>6}{tally.victims:>9}{tally.recovery_s:>14.1f} s"


def shortcomings(
    verdict: Verdict, faults: Mapping[str, Tally], overlap: float, *, kinds: Sequence[str], least: int
) -> Iterator[str]:
    """Why the run fails; nothing when it does not."""
    for name, found in verdict.bold.items():
        if found:
            yield f"{name}: {len(found)}"
    for kind in kinds:
        struck = faults[kind].times - faults[kind].idle if kind in faults else 0
        if struck < least:
            yield f"{kind} struck somebody {struck} times, not {least}"
        if kind in faults and faults[kind].idle:
            yield f"{kind} found no victim {faults[kind].idle} times"
    if overlap < 0.2:
        yield f"only {overlap:.0%} of the jobs met a fault"
