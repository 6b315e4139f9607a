"""Small arithmetic on what was measured. Pure: no input, no output."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and 99th percentile, in seconds, of so many samples."""

    p50: float
    p99: float
    count: int


def spread_of(samples: Sequence[float]) -> Spread:
    """The spread of a non-empty series; nearest rank, no interpolation.

    Raises:
        ValueError: There is no sample.
    """
    if not samples:
        raise ValueError("nothing was measured")
    ordered = sorted(samples)
    return Spread(_rank(ordered, 50), _rank(ordered, 99), len(ordered))


def _rank(ordered: Sequence[float], percent: int) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def median(values: Iterable[float]) -> float:
    """Of the rounds: one disturbed round does not move it."""
    return statistics.median(values)
