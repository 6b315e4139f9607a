"""What was tried to beat the law: the production `decide` with other figures or other settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from benchmarks.sim.cloud import ZONES
from benchmarks.sim.figures import Figures, measure
from benchmarks.sim.ours import Decide, Ours, config
from benchmarks.sim.scenarios import LAW, MOST, Scenario, stream
from benchmarks.sim.world import Policy
from scaler.credit import times
from scaler.policy import decide
from scaler.snapshot import Backlog, Config, Decision, Demand, Snapshot


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


def starving() -> Iterator[tuple[Scenario, str, Policy]]:
    """Where the first one has no word, low jobs may wait for ever."""
    for name, rule in ((LAW, decide), ("by the last one's time only", by_the_last)):
        scenario, policy = stream(rule)
        yield replace(scenario, name=name), name, policy


def _ideas(usual: Config) -> Mapping[str, tuple[Config, Decide]]:
    thetas = {f"theta {theta:g}": (replace(usual, theta=theta), decide) for theta in (0.6, 0.7, 0.9, 1.0)}
    patience = {
        f"idle for {idle_s:g} s": (replace(usual, idle_s=idle_s), decide) for idle_s in (30, 60, 90, 180, 300)
    }
    return {
        LAW: (usual, decide),
        "all by the first waiting job's time": (usual, by_the_first),
        "by the last one's time only": (usual, by_the_last),
        "by no age at all": (usual, by_no_age),
        "the first launch as late as it may be": (usual, late_first),
        "idle for as long as a boot takes": (usual, idle_as_boot),
        "surplus first: the last worker idle for 60 s, others for 30": (usual, surplus_first),
        **thetas,
        **patience,
    }


def by_the_first(snapshot: Snapshot, limits: Config, now: float) -> Decision:
    """Every waiting job is to be started by the time of the one that came first."""
    return decide(_aged(snapshot, lambda of: replace(of, newest_s=of.oldest_s)), limits, now)


def by_the_last(snapshot: Snapshot, limits: Config, now: float) -> Decision:
    """The first one has no word: it is before the last."""
    return decide(_aged(snapshot, lambda of: replace(of, oldest_s=of.newest_s)), limits, now)


def by_no_age(snapshot: Snapshot, limits: Config, now: float) -> Decision:
    """As if all had come just now."""
    return decide(_aged(snapshot, lambda of: replace(of, oldest_s=0.0, newest_s=0.0)), limits, now)


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


def _aged(snapshot: Snapshot, age: Callable[[Backlog], Backlog]) -> Snapshot:
    if not isinstance(snapshot.demand, Demand):
        return snapshot
    tiers = {tier: age(backlog) for tier, backlog in snapshot.demand.tiers.items()}
    return replace(snapshot, demand=replace(snapshot.demand, tiers=tiers))
