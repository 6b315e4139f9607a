"""What was tried to beat the law: the production `decide` with other figures or other settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from benchmarks.sim.cloud import ZONES
from benchmarks.sim.figures import Figures, measure
from benchmarks.sim.ours import Decide, Ours, config
from benchmarks.sim.scenarios import LAW, MOST, Scenario
from scaler.credit import times
from scaler.policy import decide
from scaler.snapshot import Config, Decision, Demand, Snapshot


def tried(scenario: Scenario) -> Iterator[Figures]:
    """Every idea on one scenario, the law first."""
    usual = config(scenario.wait_s, most=MOST)
    for name, (limits, rule) in _ideas(usual).items():
        yield measure(scenario, name, Ours(limits, ZONES, rule=rule))
    yield measure(scenario, "a look every 15 s", Ours(usual, ZONES, interval_s=15))
    together = Ours(replace(usual, theta=0.85), ZONES, rule=surplus_first, interval_s=15)
    yield measure(scenario, "surplus first, theta 0.85, a look every 15 s", together)
    spread = Ours(usual, ZONES)
    spread.packs = False
    yield measure(scenario, "round robin instead of packing", spread)


def _ideas(usual: Config) -> Mapping[str, tuple[Config, Decide]]:
    thetas = {f"theta {theta:g}": (replace(usual, theta=theta), decide) for theta in (0.6, 0.7, 0.9, 1.0)}
    patience = {
        f"idle for {idle_s:g} s": (replace(usual, idle_s=idle_s), decide) for idle_s in (30, 60, 90, 180, 300)
    }
    return {
        LAW: (usual, decide),
        "by the first waiting job's deadline": (usual, by_the_first),
        "by no age at all": (usual, by_no_age),
        "the first launch as late as it may be": (usual, late_first),
        "idle for as long as a boot takes": (usual, idle_as_boot),
        "surplus first: the last worker idle for 60 s, others for 30": (usual, surplus_first),
        **thetas,
        **patience,
    }


def by_the_first(snapshot: Snapshot, limits: Config, now: float) -> Decision:
    """Every waiting job is to be started by the time of the one that came first."""
    return decide(_aged(snapshot, oldest=True), limits, now)


def by_no_age(snapshot: Snapshot, limits: Config, now: float) -> Decision:
    """As if all had come just now."""
    return decide(_aged(snapshot, oldest=False), limits, now)


def late_first(snapshot: Snapshot, limits: Config, now: float) -> Decision:
    """Where nobody is, jobs gather until a boot is just in time for the first of them."""
    decision = decide(snapshot, limits, now)
    demand = snapshot.demand
    if decision.have or not isinstance(demand, Demand) or demand.running:
        return decision
    slack = [
        limits.theta * limits.wait_s[tier] - backlog.oldest_s
        for tier, backlog in demand.tiers.items()
        if backlog.waiting
    ]
    boot_s = times(snapshot.pace, limits).boot_s
    early = bool(slack) and min(slack) > boot_s + 30
    return replace(decision, launch=0) if early else decision


def idle_as_boot(snapshot: Snapshot, limits: Config, now: float) -> Decision:
    """The classical rule for renting or buying: wait for as long as it would cost to come back."""
    return decide(snapshot, replace(limits, idle_s=times(snapshot.pace, limits).boot_s), now)


def surplus_first(snapshot: Snapshot, limits: Config, now: float) -> Decision:
    """Work packs, so one of several that is idle is not needed; only the last is worth some patience."""
    decision = decide(snapshot, replace(limits, idle_s=30.0), now)
    if not decision.drain or len(decision.drain) < decision.have:
        return decision
    patient = decide(snapshot, replace(limits, idle_s=60.0), now)
    last = decision.drain[-1]
    return decision if last in patient.drain else replace(decision, drain=decision.drain[:-1])


def _aged(snapshot: Snapshot, *, oldest: bool) -> Snapshot:
    if not isinstance(snapshot.demand, Demand):
        return snapshot
    tiers = {
        tier: replace(backlog, newest_s=backlog.oldest_s if oldest else 0.0)
        for tier, backlog in snapshot.demand.tiers.items()
    }
    return replace(snapshot, demand=replace(snapshot.demand, tiers=tiers))
