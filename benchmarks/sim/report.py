"""The page that a run writes: tables, and whether what is claimed holds. `docs/sim.md` is its output."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from benchmarks.sim.figures import Claim, Figures
from benchmarks.sim.scenarios import Scenario
from scaler.snapshot import Tier

HEAD = (
    "| Policy | GPU-h | p95 wait s | later than W | busy killed | launches | most |\n"
    "|---|---|---|---|---|---|---|"
)
SPOT_HEAD = (
    "| Market | GPU-h | cost, on-demand h | of on-demand | p95 wait s | later than W | taken busy |\n"
    "|---|---|---|---|---|---|---|"
)
INTRO = """# Simulated

Written by `make sim`: the production `scaler.policy.decide` on a simulated clock and cloud, beside what
others do. [Scaling](scaling.md) says what to make of it, and [what was tried to beat
it](scaling.md#what-was-tried-to-beat-it); `benchmarks/sim/` holds every policy, with the page of the
documentation that it is modelled on.

GPU-hours run from a launch to the machine's end, boot included. The objective W is the time from a job's
arrival to its start. Everybody looks every 30 s (KEDA's HPA every 15, a cloud's alarms every 60), has 64
machines at most, and meets the same cloud."""


CLASSES_HEAD = "| | GPU-h | high later | normal later | low later |\n|---|---|---|---|---|"
CLASSES_NOTE = """The request trace with a tenth of its jobs high (W 120 s, below the boot of 180 s),
a fifth low (W 3600 s) and the others normal (W 300 s). From no worker a first high job is always late, so the
scaler asks for a minimum. In the stream, high jobs keep a worker busy all the time, and a low one comes now
and then."""


@dataclass(frozen=True, slots=True)
class Results:
    """Everything that was measured."""

    scenarios: Sequence[Scenario]
    rows: Sequence[Figures]
    markets: Sequence[Figures]
    classes: Sequence[Figures]
    held: Sequence[Claim]


def page(results: Results) -> str:
    """The whole page, as Markdown."""
    by_name = {scenario.name: scenario for scenario in results.scenarios}
    first = results.scenarios[0].workload
    about = (
        f"Requests: {first.source}, {len(first.arrivals)} jobs of"
        f" {sum(first.services) / len(first.services):.1f} s on average: {first.busy_h:.0f} GPU-h of work."
    )
    parts = [INTRO, about, "![Cost and lateness](sim-policies.svg)", "![A day](sim-day.svg)"]
    for name, group in groupby(results.rows, key=lambda row: row.scenario):
        parts += [f"## {_title(by_name[name])}", *_note(by_name[name]), table(group)]
    parts += ["## Three classes", CLASSES_NOTE, classes_table(results.classes)]
    parts += ["## Spot", SPOT_NOTE, spot_table(results.markets)]
    parts += ["## What is to hold", verdicts(results.held)]
    return "\n\n".join(parts) + "\n"


SPOT_NOTE = """The request trace again (boot 180 s, W 300 s), on four zones whose spot machines are short
31, 59, 79 and 73 % of the time, cost 0.3 of on-demand and are taken back with two minutes' notice. What
is asked for next is the production choice (`scaler.offerings`)."""


def _title(scenario: Scenario) -> str:
    name = scenario.name[:1].upper() + scenario.name[1:]
    boot = f"boot {scenario.cloud.boots.mean_s:.0f} s, W {scenario.wait_s:.0f} s"
    return name if scenario.name == boot else f"{name} ({boot})"


def _note(scenario: Scenario) -> list[str]:
    return [scenario.note[:1].upper() + scenario.note[1:] + "."] if scenario.note else []


def table(rows: Iterable[Figures]) -> str:
    """One scenario's."""
    lines = (
        f"| {r.policy} | {r.gpu_h:.0f} | {r.p95_s:.0f} | {r.late:.2%} | {r.killed} | {r.launches}"
        f" | {r.most} |"
        for r in rows
    )
    return "\n".join([HEAD, *lines])


def spot_table(rows: Sequence[Figures]) -> str:
    """The first row is what the others are compared with."""
    full = rows[0].cost_h
    lines = (
        f"| {r.scenario} | {r.gpu_h:.0f} | {r.cost_h:.0f} | {r.cost_h / full:.0%} | {r.p95_s:.0f}"
        f" | {r.late:.2%} | {r.taken} |"
        for r in rows
    )
    return "\n".join([SPOT_HEAD, *lines])


def classes_table(rows: Sequence[Figures]) -> str:
    """A column for each class."""
    lines = (
        f"| {r.scenario} | {r.gpu_h:.0f} | {' | '.join(f'{r.late_of[tier]:.2%}' for tier in Tier)} |"
        for r in rows
    )
    return "\n".join([CLASSES_HEAD, *lines])


def verdicts(held: Sequence[Claim]) -> str:
    """A line for each claim."""
    return "\n".join(f"- {'holds' if claim.holds else '**fails**'}: {claim.text}" for claim in held)
