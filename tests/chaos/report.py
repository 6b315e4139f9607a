"""The table at the end of a run, and why a run fails."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tests.chaos.checker import Verdict
from tests.chaos.plan import Plan
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
    yield f"  {'fault':<26}{'times':>6}{'idle':>6}{'jobs':>8}{'hits':>7}{'worst recovery':>16}"
    for kind, tally in faults.items():
        counts = f"{tally.times:>6}{tally.idle:>6}{tally.jobs:>8}{tally.hits:>7}"
        yield f"  {kind:<26}{counts}{tally.recovery_s:>14.1f} s"


def shortcomings(
    plan: Plan, verdict: Verdict, faults: Mapping[str, Tally], overlap: float, logged: Sequence[str]
) -> Iterator[str]:
    """Why the run fails; nothing when it does not."""
    yield from (f"{name}: {len(found)}" for name, found in verdict.bold.items() if found)
    yield from (f"logged: {line}" for line in logged)
    yield from _faults_missing(plan, faults)
    if overlap < plan.overlap:
        yield f"only {overlap:.0%} of the jobs met a fault"
    if verdict.counts["accepted"] < plan.floor:
        yield f"only {verdict.counts['accepted']} jobs were accepted, not {plan.floor}"
    if verdict.counts["unknown"]:
        yield f"{verdict.counts['unknown']} clients still do not know whether they have a job"


def _faults_missing(plan: Plan, faults: Mapping[str, Tally]) -> Iterator[str]:
    for kind in plan.kinds:
        struck = faults[kind].times - faults[kind].idle if kind in faults else 0
        if struck < plan.least:
            yield f"{kind} struck jobs in flight {struck} times, not {plan.least}"
        if plan.each_needs_victims and kind in faults and faults[kind].idle:
            yield f"{kind} found no victim {faults[kind].idle} times"
