"""The simulated cloud: what comes of asking for machines, by zone and market, and what becomes of them."""

from __future__ import annotations

import bisect
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scaler.offerings import Market, Offering

TYPE = "gpu"
SPOT_SHARE = 0.3
"""Of the on-demand price."""
NOTICE_S = 120.0
TRACE = "spot_preemption_{zone}.json"
ZONES = ("us-east-1c", "us-east-1f", "us-west-2b", "us-west-2c")


@dataclass(frozen=True, slots=True)
class Boots:
    """How long a launch takes to a ready worker.

    Attributes:
        mean_s: Of the usual ones, which differ by a tenth either way.
        tail: The share that takes three times as long.
        never: The share that never becomes ready.
    """

    mean_s: float = 180.0
    tail: float = 0.0
    never: float = 0.0

    def draw(self, rng: random.Random) -> float | None:
        """Seconds, or None: it never comes."""
        chance = rng.random()
        if chance < self.never:
            return None
        stretch = 3.0 if chance < self.never + self.tail else 1.0
        return self.mean_s * stretch * rng.uniform(0.9, 1.1)


@dataclass(frozen=True, slots=True)
class Shortage:
    """When spot machines of a zone are taken back and none is to be had: alternating moments, free first."""

    changes: Sequence[float]
    period_s: float

    def short(self, now: float) -> bool:
        """Whether there are none at a moment; the record repeats."""
        return bisect.bisect_right(self.changes, now % self.period_s) % 2 == 1

    def next_start(self, now: float) -> float:
        """When machines are taken back next."""
        turns, at = divmod(now, self.period_s)
        starts = self.changes[::2]
        found = bisect.bisect_right(starts, at)
        later = starts[found] if found < len(starts) else self.period_s + starts[0]
        return turns * self.period_s + later


@dataclass(frozen=True, slots=True)
class Outage:
    """A zone that is lost with all that is in it."""

    zone: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Cloud:
    """What is on offer and what goes wrong.

    Attributes:
        refuse: The share of launches that are refused for want of capacity.
        shortages: Of spot machines, by zone.
        outages: Of zones.
    """

    boots: Boots = Boots()
    zones: tuple[str, ...] = ZONES
    refuse: float = 0.0
    shortages: Mapping[str, Shortage] = field(default_factory=dict)
    outages: Sequence[Outage] = ()

    def has(self, offering: Offering, now: float) -> bool:
        """Whether an offering is to be had at a moment."""
        if any(outage.zone == offering.zone and outage.start <= now < outage.end for outage in self.outages):
            return False
        shortage = self.shortages.get(offering.zone)
        return offering.market is Market.ON_DEMAND or shortage is None or not shortage.short(now)

    def taken_at(self, offering: Offering, now: float) -> float | None:
        """When a machine that is launched now will be taken back, with notice; None: it stays."""
        shortage = self.shortages.get(offering.zone)
        if offering.market is Market.ON_DEMAND or shortage is None:
            return None
        return shortage.next_start(now)

    def on_demand(self) -> tuple[Offering, ...]:
        """Every zone's machine at the full price."""
        return tuple(Offering(TYPE, zone, Market.ON_DEMAND) for zone in self.zones)


def price(offering: Offering) -> float:
    """Of an hour; the full price is 1."""
    return SPOT_SHARE if offering.market is Market.SPOT else 1.0


def spot_shortages(folder: Path | None) -> Mapping[str, Shortage]:
    """By zone, as recorded, or drawn with the same shares and lengths where there is no record."""
    return {zone: _recorded(folder, zone) or _drawn(number) for number, zone in enumerate(ZONES)}


def _recorded(folder: Path | None, zone: str) -> Shortage | None:
    file = folder / TRACE.format(zone=zone) if folder else None
    if file is None or not file.exists():
        return None
    trace = json.loads(file.read_text())
    tick_s, states = float(trace["metadata"]["gap_seconds"]), trace["data"]
    before = [0, *states[:-1]]
    changes = [
        tick_s * tick for tick, (was, is_) in enumerate(zip(before, states, strict=True)) if was != is_
    ]
    return Shortage(_even(changes, tick_s * len(states)), tick_s * len(states))


def _drawn(number: int) -> Shortage:
    rng = random.Random(number)  # noqa: S311  nothing secret: the same draw every time
    free_s, short_s = ((10_400, 4_800), (4_300, 6_200), (2_900, 11_100), (2_900, 8_000))[number]
    period_s, at, changes = 7 * 86_400.0, 0.0, list[float]()
    while at < period_s:
        at += rng.expovariate(1 / (free_s if len(changes) % 2 == 0 else short_s))
        changes.append(at)
    return Shortage(_even([change for change in changes if change < period_s], period_s), period_s)


def _even(changes: list[float], period_s: float) -> tuple[float, ...]:
    """A shortage that goes on at the end of the record ends with it."""
    return tuple(changes if len(changes) % 2 == 0 else [*changes, period_s])
