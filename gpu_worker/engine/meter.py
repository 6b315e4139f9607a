"""How long something was at work, told also while it is. Standard library only."""

from __future__ import annotations

import time
from collections.abc import Callable


class Meter:
    """Adds up seconds at work, over as many processes as use it one after the other.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._spent_s = 0.0
        self._since: float | None = None

    def mark(self, *, busy: bool) -> None:
        """It is at work from now on, or at rest; saying it again changes nothing."""
        if busy is (self._since is not None):
            return
        now = self._clock()
        if self._since is not None:
            self._spent_s += now - self._since
        self._since = now if busy else None

    @property
    def seconds(self) -> float:
        """At work so far."""
        now_s = 0.0 if self._since is None else self._clock() - self._since
        return self._spent_s + now_s
