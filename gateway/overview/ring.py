"""The last ten minutes of a few numbers, five seconds a point. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

STEP_S = 5.0
SIZE = 120
WINDOW_S = 60.0
"""What counts as lately."""
MINUTE = round(WINDOW_S / STEP_S)
"""Its steps."""


def step_at(epoch_s: float) -> int:
    """The step that a moment lies in."""
    return int(epoch_s // STEP_S)


class Ring:
    """Points by name and step; what was never put is a gap.

    Attributes:
        filled_to: The last step whose past is settled; None before the first.
    """

    def __init__(self) -> None:
        self._points: defaultdict[str, dict[int, float]] = defaultdict(dict)
        self.filled_to: int | None = None

    def put(self, name: str, step: int, value: float | None) -> None:
        """Set a point, or leave a gap."""
        if value is not None:
            self._points[name][step] = value

    def points(self, name: str, step: int) -> list[float | None]:
        """The points before a step, oldest first."""
        held = self._points[name]
        for old in [known for known in held if known < step - SIZE]:
            del held[old]
        return [held.get(known) for known in range(step - SIZE, step)]

    def mean(self, name: str, steps: Iterable[int]) -> float | None:
        """The mean of the points that are there; None where there is none."""
        held = self._points[name]
        there = [held[step] for step in steps if step in held]
        return sum(there) / len(there) if there else None

    def missing(self, step: int) -> int:
        """The first step that has to be read; the last two again, for what was committed late."""
        oldest = step - SIZE
        return oldest if self.filled_to is None else max(oldest, self.filled_to - 1)
