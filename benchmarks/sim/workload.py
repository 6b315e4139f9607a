"""What arrives: recorded requests where they are at hand, else seeded ones of the same statistics."""

from __future__ import annotations

import bisect
import csv
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scaler.snapshot import Tier

REQUESTS = "gentd26_requests.csv"
DAY_S = 86_400.0

SHARE_OF_HOUR = (
    86,
    105,
    25,
    38,
    121,
    126,
    129,
    145,
    44,
    43,
    46,
    26,
    14,
    13,
    10,
    4,
    2,
    0.1,
    0.1,
    0,
    0.1,
    0.1,
    1,
    22,
)
"""Of a thousand requests of the recorded day, by hour."""
SHARE_OF_DAY = (4, 4, 4, 2, 28, 54, 55, 52, 4, 57, 60, 60, 60, 71, 11, 11, 68, 100, 86, 93, 81, 21, 10)
"""Of a thousand requests of the recorded three weeks, by day."""
GENERATED = 26_392
MEDIAN_S, SPREAD = 23.0, 0.63
"""Of the service times, which are nearly log-normal; their mean is 28."""
BUNCH = 5.0
"""Requests come in bunches of so many on average,"""
APART_S, CLOSE_S, CLOSE = 30.0, 6.0, 0.1
"""half a minute apart, and one in ten close behind another. By this half of all come within 10 s of the one
before (recorded: 15), nine in ten within 58 s (70), and in 34 % of the hours comes none (33 %)."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Jobs in the order of their arrival; all times in seconds.

    Attributes:
        arrivals: Since the first.
        services: For how long each holds a worker.
        tiers: The class of each.
        source: Where they come from, in words.
    """

    arrivals: Sequence[float]
    services: Sequence[float]
    tiers: Sequence[Tier]
    source: str

    @property
    def busy_h(self) -> float:
        """Hours of work in all: no fleet can do with less."""
        return sum(self.services) / 3600

    def denser(self, factor: float) -> Workload:
        """The same jobs in a fraction of the time."""
        return replace(self, arrivals=[at / factor for at in self.arrivals])

    def shorter(self, factor: float) -> Workload:
        """The same arrivals with jobs that take a fraction."""
        return replace(self, services=[service / factor for service in self.services])

    def days(self, start: int, end: int) -> Workload:
        """The jobs of some days, counted from 0."""
        first, last = (bisect.bisect_left(self.arrivals, day * DAY_S) for day in (start, end))
        return replace(
            self,
            arrivals=[at - start * DAY_S for at in self.arrivals[first:last]],
            services=self.services[first:last],
            tiers=self.tiers[first:last],
        )

    def mixed(self, seed: int, high: float, low: float) -> Workload:
        """The same jobs, some of them of the high and the low class."""
        rng = random.Random(seed)  # noqa: S311  nothing secret: the same draw every time
        tiers = [_draw(rng.random(), high, low) for _ in self.arrivals]
        return replace(self, tiers=tiers)


def _draw(chance: float, high: float, low: float) -> Tier:
    if chance < high:
        return Tier.HIGH
    return Tier.LOW if chance > 1 - low else Tier.NORMAL


def read(folder: Path | None) -> Workload:
    """The recorded requests, or generated ones where there are none."""
    file = folder / REQUESTS if folder else None
    return recorded(file) if file and file.exists() else generated()


def recorded(file: Path) -> Workload:
    """The requests of a file with the columns `arrival_s` and `service_s`."""
    with file.open(newline="") as lines:
        rows = sorted((float(row["arrival_s"]), float(row["service_s"])) for row in csv.DictReader(lines))
    arrivals, services = [at for at, _ in rows], [service for _, service in rows]
    return Workload(arrivals, services, [Tier.NORMAL] * len(rows), f"recorded ({file.name})")


def generated(seed: int = 26, count: int = GENERATED) -> Workload:
    """Requests with the recorded ones' days and hours, their bunches, and their service times."""
    rng = random.Random(seed)  # noqa: S311  nothing secret: the same draw every time
    arrivals: list[float] = []
    days, hours = range(len(SHARE_OF_DAY)), range(len(SHARE_OF_HOUR))
    while len(arrivals) < count:
        day = rng.choices(days, SHARE_OF_DAY)[0]
        hour = rng.choices(hours, SHARE_OF_HOUR)[0]
        arrivals += _bunch(rng, day * DAY_S + hour * 3600 + rng.uniform(0, 3600))
    arrivals = sorted(arrivals[:count])
    services = [max(3.0, rng.lognormvariate(math.log(MEDIAN_S), SPREAD)) for _ in arrivals]
    return Workload(
        [at - arrivals[0] for at in arrivals], services, [Tier.NORMAL] * count, f"generated (seed {seed})"
    )


def _bunch(rng: random.Random, at: float) -> list[float]:
    bunch = [at]
    while rng.random() < 1 - 1 / BUNCH:
        gap_s = CLOSE_S if rng.random() < CLOSE else APART_S
        bunch.append(bunch[-1] + rng.expovariate(1 / gap_s))
    return bunch
