"""Running one policy through one scenario, and what it comes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.sim.ours import config
from benchmarks.sim.scenarios import LAW, ON_DEMAND, SPOT_FALLBACK, TUNED, Scenario
from benchmarks.sim.world import Policy, World
from scaler.snapshot import Tier


@dataclass(frozen=True, slots=True)
class Figures:
    """One row of the table.

    Attributes:
        cost_h: Machine hours at their price, in on-demand hours.
        late: The share of jobs that started later than W.
        killed: Workers ended by the policy with a job in hand.
        taken: Workers that the cloud took with a job in hand.
        timeline: At each look: the moment, machines, those at work, jobs waiting.
    """

    scenario: str
    policy: str
    gpu_h: float
    cost_h: float
    p50_s: float
    p95_s: float
    late: float
    killed: int
    taken: int
    launches: int
    most: int
    timeline: Sequence[tuple[float, int, int, int]] = ()
    late_of: Mapping[Tier, float] = field(default_factory=dict)
    """By class, of its own objective, where there are several."""


def measure(scenario: Scenario, name: str, policy: Policy, *, watch: bool = False, seed: int = 1) -> Figures:
    """Run it."""
    world = World(scenario.workload, scenario.cloud, policy, seed=seed, watch=watch)
    tally = world.run()
    waits = sorted(wait for _, wait in world.waits())
    return Figures(
        scenario=scenario.name,
        policy=name,
        gpu_h=tally.machine_s / 3600,
        cost_h=tally.cost_s / 3600,
        p50_s=waits[len(waits) // 2],
        p95_s=waits[int(len(waits) * 0.95)],
        late=sum(wait > scenario.wait_s for wait in waits) / len(waits),
        killed=tally.killed_busy,
        taken=tally.taken_busy,
        launches=tally.launches,
        most=tally.most,
        timeline=tally.timeline,
        late_of=_late_of(world, scenario) if scenario.classes else {},
    )


def _late_of(world: World, scenario: Scenario) -> dict[Tier, float]:
    objectives = config(scenario.wait_s, most=1).wait_s
    waits: dict[Tier, list[float]] = {tier: [] for tier in Tier}
    for tier, wait in world.waits():
        waits[tier].append(wait)
    return {tier: sum(wait > objectives[tier] for wait in of) / max(1, len(of)) for tier, of in waits.items()}


@dataclass(frozen=True, slots=True)
class Claim:
    """What is to hold, and whether it does."""

    text: str
    holds: bool


def claims(rows: Sequence[Figures], scenarios: Sequence[Scenario]) -> list[Claim]:
    """What the scaler is measured by."""
    return [*_of_the_law(rows, scenarios), *_of_spot(rows)]


def _of_the_law(rows: Sequence[Figures], scenarios: Sequence[Scenario]) -> list[Claim]:
    ours = {row.scenario: row for row in rows if row.policy == LAW}
    tuned = {row.scenario: row for row in rows if row.policy == TUNED}
    first = scenarios[0].name
    cheap, late = ours[first], [scenario for scenario in scenarios if scenario.within_reach]
    return [
        Claim(
            f"{first}: {cheap.gpu_h:.0f} GPU-h, hand-tuned KEDA {tuned[first].gpu_h:.0f}",
            cheap.gpu_h <= tuned[first].gpu_h,
        ),
        *(
            Claim(f"{s.name}: {ours[s.name].late:.2%} later than W, at most 1 %", ours[s.name].late <= 0.01)
            for s in late
        ),
        Claim("no busy worker ended by the scaler, anywhere", not any(row.killed for row in ours.values())),
    ]


def _of_spot(rows: Sequence[Figures]) -> list[Claim]:
    found = {row.scenario: row for row in rows}
    if SPOT_FALLBACK not in found:
        return []
    spot, full = found[SPOT_FALLBACK], found[ON_DEMAND]
    share = spot.cost_h / full.cost_h
    return [
        Claim(f"spot, {SPOT_FALLBACK}: {spot.late:.2%} later than W, at most 1.5 %", spot.late <= 0.015),
        Claim(f"spot, {SPOT_FALLBACK}: {share:.0%} of the on-demand cost, at most 55 %", share <= 0.55),
    ]
