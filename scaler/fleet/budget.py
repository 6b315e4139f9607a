"""How much a fleet may change in a minute and in an hour: whatever goes wrong above, the bill is bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from scaler.ports import Clock

MINUTE_S, HOUR_S = 60.0, 3600.0


@dataclass(frozen=True, slots=True)
class Grant:
    """So many may be done; they count as done at that moment."""

    count: int
    at: float


class Budget:
    """Counts what was done within sliding windows.

    Args:
        what: Named in the alarm: launches, terminations.
        limits: At most so many within so many seconds.
    """

    def __init__(self, what: str, limits: Mapping[float, int], clock: Clock) -> None:
        self._what = what
        self._limits = limits
        self._clock = clock
        self._done: deque[float] = deque()
        self._refused_at: float | None = None

    def take(self, wanted: int) -> int:
        """How many of these may be done now; they count as done."""
        return self.reserve(wanted).count

    def reserve(self, wanted: int) -> Grant:
        """The same, where some of it may not happen."""
        now = self._clock.now()
        self._forget(now)
        granted = max(0, min(wanted, self._room(now)))
        self._done.extend([now] * granted)
        if granted < wanted:
            self._refused_at = now
        return Grant(granted, now)

    def give_back(self, grant: Grant, count: int) -> None:
        """So many of these did not happen. What other queues were granted meanwhile stays as it is."""
        for _ in range(min(count, grant.count)):
            with suppress(ValueError):  # forgotten: it is too long ago to count
                self._done.remove(grant.at)

    def recall(self, ages_s: Iterable[float]) -> None:
        """Count what was done before this process began, so long ago: a restart is no new budget."""
        now = self._clock.now()
        self._done = deque(sorted([*self._done, *(now - age_s for age_s in ages_s)]))
        self._forget(now)

    @property
    def alarm(self) -> str | None:
        """In words, for a minute after something was refused."""
        if self._refused_at is None or self._clock.now() - self._refused_at > MINUTE_S:
            return None
        limits = ", ".join(f"{most} in {within_s:g} s" for within_s, most in sorted(self._limits.items()))
        return f"more {self._what} were asked for than are allowed ({limits})"

    def _room(self, now: float) -> int:
        return min(most - self._within(within_s, now) for within_s, most in self._limits.items())

    def _within(self, within_s: float, now: float) -> int:
        return sum(now - at < within_s for at in self._done)

    def _forget(self, now: float) -> None:
        longest = max(self._limits)
        while self._done and now - self._done[0] >= longest:
            self._done.popleft()
