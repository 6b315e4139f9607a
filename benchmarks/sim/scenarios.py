"""What is run: every policy on every workload and cloud, and the spot markets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.sim import workload
from benchmarks.sim.baselines import Always, BacklogPerInstance, Depth, Keda
from benchmarks.sim.cloud import ZONES, Boots, Cloud, Outage, spot_shortages
from benchmarks.sim.ours import Decide, Ours, config
from benchmarks.sim.workload import DAY_S, Workload
from benchmarks.sim.world import Policy
from scaler.policy import decide
from scaler.snapshot import Tier

MOST = 64
"""Machines at most, for everybody; nobody is to be saved by a limit."""
MEAN_S = 28.9
"""Of the recorded service times: what whoever tunes a backlog per instance would find."""
LAW = "deadline credit (Leveret)"
TUNED = "KEDA RabbitMQ, HTTP, value 5 (hand-tuned), grace 600 s"
SPOT_FALLBACK = "four zones, with fall-back"
ON_DEMAND = "all on-demand"
OUT_OF_REACH = "boot 420 s, W 300 s"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One workload on one cloud.

    Attributes:
        wait_s: The objective, W.
        blind: Moments, from and to, at which nobody has figures.
        note: What is special about it.
        classes: Whether its jobs are of several classes.
    """

    name: str
    workload: Workload
    wait_s: float
    cloud: Cloud = field(default_factory=Cloud)
    blind: tuple[tuple[float, float], ...] = ()
    note: str = ""
    classes: bool = False

    @property
    def within_reach(self) -> bool:
        """Whether a first job can be started in time from no worker, and nothing goes wrong on purpose."""
        return self.wait_s > 1.2 * self.cloud.boots.mean_s and not self.cloud.boots.never


Make = Callable[[Scenario], Policy]

POLICIES: Mapping[str, Make] = {
    "always 4": lambda _: Always(4),
    "KEDA RabbitMQ, AMQP, value 1, grace 30 s": lambda s: Keda(
        1, unacked=False, grace_s=30, most=MOST, blind=s.blind
    ),
    "KEDA RabbitMQ, HTTP, value 1, grace 600 s": lambda s: Keda(
        1, unacked=True, grace_s=600, most=MOST, blind=s.blind
    ),
    TUNED: lambda s: Keda(5, unacked=True, grace_s=600, most=MOST, blind=s.blind),
    "(ready + unacked) / 1, idle 60 s": lambda s: Depth(MOST, blind=s.blind),
    "backlog per instance = W/S": lambda s: BacklogPerInstance(s.wait_s / MEAN_S, MOST, blind=s.blind),
    LAW: lambda s: Ours(config(s.wait_s, most=MOST), s.cloud.zones, blind=s.blind),
}


def scenarios(folder: Path | None, *, quick: bool) -> Iterator[Scenario]:
    """All of them, the request trace first; `quick`: four days of it, and the same with faults."""
    requests = workload.read(folder)
    if quick:
        requests = requests.days(13, 17)
    yield Scenario("the request trace", requests, 300)
    if not quick:
        yield from _variations(requests)
    yield faulty(requests)


def _variations(requests: Workload) -> Iterator[Scenario]:
    slow = Cloud(boots=Boots(420))
    yield Scenario("ten times as dense", requests.denser(10), 300)
    yield Scenario("jobs ten times shorter", requests.shorter(10), 300)
    yield Scenario("boot 180 s, W 900 s", requests, 900)
    yield Scenario("boot 420 s, W 900 s", requests, 900, slow)
    yield Scenario(
        OUT_OF_REACH,
        requests,
        300,
        slow,
        note="out of reach from no worker: no first job can start in time",
    )


def kept_warm(scenario: Scenario) -> Policy:
    """The law where one worker always stays."""
    return Ours(replace(config(scenario.wait_s, most=MOST), min=1), scenario.cloud.zones)


def classes(requests: Workload) -> Iterator[tuple[Scenario, Policy]]:
    """Jobs of all three classes, the high ones' objective below a boot."""
    mixed = Scenario("from no worker", requests.mixed(7, high=0.1, low=0.2), 300, classes=True)
    yield mixed, POLICIES[LAW](mixed)
    yield replace(mixed, name="one worker always"), kept_warm(mixed)
    yield stream()


def stream(rule: Decide = decide) -> tuple[Scenario, Policy]:
    """High jobs that keep a worker busy all the time, and a low one now and then that they let wait."""
    high = [(30.0 * number, Tier.HIGH) for number in range(20_000)]
    low = [(200.0 * number + 7, Tier.LOW) for number in range(3_000)]
    arrivals, tiers = zip(*sorted(high + low), strict=True)
    services = [20.0 + number % 19 for number in range(len(arrivals))]
    work = Workload(arrivals, services, tiers, "a stream")
    given = Scenario("a stream of high jobs, and a few low ones", work, 300, classes=True)
    return given, Ours(config(given.wait_s, most=MOST), ZONES, rule=rule)


def faulty(requests: Workload) -> Scenario:
    """Everything that goes wrong at once."""
    busy = _busiest(requests)
    cloud = Cloud(
        boots=Boots(180, tail=0.05, never=0.02),
        refuse=0.1,
        outages=[Outage(ZONES[number % 4], at, at + 7200) for number, at in enumerate(busy)],
    )
    blind = tuple((at + 3600, at + 4200) for at in busy)
    note = (
        "10 % of the launches refused, 2 % never heard of, 5 % boot three times as long; each day a zone is"
        " lost with all that is in it for two hours, and nobody has figures for ten minutes"
    )
    return Scenario("faults", requests, 300, cloud, blind, note)


def _busiest(requests: Workload) -> list[float]:
    """In the middle of each day's work."""
    days: dict[int, list[float]] = {}
    for at in requests.arrivals:
        days.setdefault(int(at // DAY_S), []).append(at)
    return [arrivals[len(arrivals) // 2] for arrivals in days.values() if len(arrivals) > 100]


def spot(folder: Path | None, requests: Workload) -> Iterator[tuple[Scenario, Policy]]:
    """The law on spot markets, beside all on-demand."""
    shortages = spot_shortages(folder)
    one = Cloud(zones=ZONES[:1], shortages=shortages)
    four = Cloud(shortages=shortages)
    base = Scenario(ON_DEMAND, requests, 300, four)
    limits = config(base.wait_s, most=MOST)
    yield base, Ours(limits, ZONES)
    yield (
        replace(base, name="one zone, no fall-back", cloud=one),
        Ours(limits, one.zones, spot=True, fallback=False),
    )
    yield (
        replace(base, name="four zones, no fall-back"),
        Ours(limits, ZONES, spot=True, fallback=False),
    )
    yield replace(base, name=SPOT_FALLBACK), Ours(limits, ZONES, spot=True)
