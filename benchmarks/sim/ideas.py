"""What was tried to beat the law: the production `decide` with other figures or other settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from benchmarks.sim.cloud import ZONES
from benchmarks.sim.every_job import EveryJob
from benchmarks.sim.figures import Figures, measure
from benchmarks.sim.ours import Decide, Ours, config
from benchmarks.sim.patience import Learned, Surplus
from benchmarks.sim.scenarios import LAW, MOST, Scenario, stream
from benchmarks.sim.world import Policy
from scaler.credit import times
from scaler.policy import decide
from scaler.snapshot import Backlog, Config, Decision, Demand, Snapshot


def tried(scenario: Scenario, seed: int = 1) -> Iterator[Figures]:
    """Every idea on one scenario, the law first.

    Args:
        scenario: Jobs and cloud.
        seed: Of the cloud's chances: what differs by less than two of them do is no difference.
    """
    usual = config(scenario.wait_s, most=MOST)
    for name, policy in _policies(usual):
        yield measure(scenario, name, policy, seed=seed)


def _policies(usual: Config) -> Iterator[tuple[str, Policy]]:
    for name, (limits, rule) in _ideas(usual).items():
        yield name, Ours(limits, ZONES, rule=rule)
    yield "a look every 15 s", Ours(usual, ZONES, interval_s=15)
    together = Ours(replace(usual, theta=0.85), ZONES, rule=Surplus(60, 30), interval_s=15)
    yield "surplus first, theta 0.85, a look every 15 s", together
    spread = Ours(usual, ZONES)
    spread.packs = False
    yield "round robin instead of packing", spread
    yield "every waiting job by its own time", EveryJob(usual, ZONES)
    yield "every waiting job by its own time, theta 0.9", EveryJob(replace(usual, theta=0.9), ZONES)
    for theta in (0.83, 0.86):
        both = EveryJob(replace(usual, theta=theta), ZONES, Surplus(90, 10))
        yield f"every waiting job by its own time, theta {theta:g}, surplus first: 90 s, others for 10", both


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
        "surplus first: the last worker idle for 60 s, others for 30": (usual, Surplus(60, 30)),
        "surplus first: 90 s, others for 10": (usual, Surplus(90, 10)),
        "surplus first: 75 s, others for 5, theta 0.86": (replace(usual, theta=0.86), Surplus(75, 5)),
        "the last worker as the gaps so far advise, others for 30 s": (usual, Learned(30)),
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


def _aged(snapshot: Snapshot, age: Callable[[Backlog], Backlog]) -> Snapshot:
    if not isinstance(snapshot.demand, Demand):
        return snapshot
    tiers = {tier: age(backlog) for tier, backlog in snapshot.demand.tiers.items()}
    return replace(snapshot, demand=replace(snapshot.demand, tiers=tiers))
