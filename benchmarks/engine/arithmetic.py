"""From what was read to what is told: rates, shares, slopes. Pure: no input, no output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SETTLED = 0.25
"""The part of a memory run that fills pools and caches, before anything can be called a slope."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How far a worker is at one moment.

    Attributes:
        at: Seconds of a monotonic clock.
        done: Jobs whose results are stored.
        cpu_s: Seconds of CPU used so far, by whose they are.
    """

    at: float
    done: int
    cpu_s: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Pace:
    """What lies between two readings.

    Attributes:
        rate: Jobs per second.
        cpu_ms: Milliseconds of CPU a job, by whose they are.
        cores: How many cores all of them together kept busy.
    """

    rate: float
    cpu_ms: Mapping[str, float]
    cores: float


def pace_of(first: Reading, last: Reading) -> Pace:
    """The pace between a reading that found a result and one that found more.

    Raises:
        ValueError: No job ended between them, or no time passed.
    """
    jobs, seconds = last.done - first.done, last.at - first.at
    if jobs <= 0 or seconds <= 0:
        raise ValueError("nothing ended between the readings")
    used = {whose: last.cpu_s[whose] - first.cpu_s.get(whose, 0.0) for whose in last.cpu_s}
    return Pace(
        rate=jobs / seconds,
        cpu_ms={whose: 1000 * seconds_ / jobs for whose, seconds_ in used.items()},
        cores=sum(used.values()) / seconds,
    )


def busy_share(rate: float, raw_rate: float, batch: int = 1) -> float:
    """The part of the time that the device computes: jobs per second over what it could do by itself.

    Args:
        rate: Jobs per second, end to end.
        raw_rate: Batches per second of the device alone.
        batch: The largest batch that the worker may form.
    """
    return rate / (raw_rate * batch)


def ceiling(cpu_ms: float, cores: int, raw_rate: float, batch: int = 1) -> float:
    """The largest busy share for which the machine has cores enough, at this cost of a job; 1 at most.

    Args:
        cpu_ms: Milliseconds of CPU a job, of workers and servers together.
        cores: What they share.
        raw_rate: Batches per second of the device alone.
        batch: The largest batch that the worker may form.
    """
    return min(1.0, busy_share(1000 * cores / cpu_ms, raw_rate, batch))


@dataclass(frozen=True, slots=True)
class Weight:
    """Megabytes (10^6 bytes) held after so many jobs."""

    done: int
    megabytes: float


def slope(weights: Sequence[Weight]) -> float:
    """Kilobytes more per 1,000 jobs: least squares over what follows the first quarter.

    Raises:
        ValueError: Too few readings for a line.
    """
    until = max((weight.done for weight in weights), default=0)
    settled = [weight for weight in weights if weight.done >= SETTLED * until]
    mean_done = sum(weight.done for weight in settled) / max(1, len(settled))
    mean_held = sum(weight.megabytes for weight in settled) / max(1, len(settled))
    spread = sum((weight.done - mean_done) ** 2 for weight in settled)
    if spread == 0:
        raise ValueError("a slope needs readings at different numbers of jobs")
    rise = sum((weight.done - mean_done) * (weight.megabytes - mean_held) for weight in settled)
    return rise / spread * 1_000_000
