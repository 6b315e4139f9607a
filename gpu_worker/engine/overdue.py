"""Which models' loads ran out of time: they are refused for a while, not loaded again at everybody's cost.

A load that hangs keeps its engine from computing anything else, and only the end of the process ends it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from shared.errors import LoadOverdue

BASE_S = 300.0
CAP_S = 3600.0


@dataclass(frozen=True, slots=True)
class _Late:
    times: int
    limit_s: float
    since: float
    until: float


class Overdue:
    """By `name@version`, for all engines of a worker together: one of them is enough to find out.

    Args:
        now: A monotonic clock, in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._late: dict[str, _Late] = {}

    def __contains__(self, ref: str) -> bool:
        """Whether it is refused now."""
        late = self._late.get(ref)
        return late is not None and self._now() < late.until

    def check(self, ref: str) -> None:
        """Leave here if it is refused now.

        Raises:
            LoadOverdue: Says since when, and when it is tried again.
        """
        if ref in self:
            raise self._error(ref)

    def add(self, ref: str, limit_s: float) -> LoadOverdue:
        """Its load ran out of time; engines that tried at the same time count once.

        Args:
            ref: The model.
            limit_s: The time that it had. It is refused for that long at least.

        Returns:
            What its job fails with.
        """
        if ref not in self:
            times = self._late[ref].times + 1 if ref in self._late else 1
            wait_s = max(limit_s, min(CAP_S, BASE_S * 2.0 ** min(times - 1, 32)))
            self._late[ref] = _Late(times, limit_s, self._now(), self._now() + wait_s)
        return self._error(ref)

    def drop(self, ref: str) -> None:
        """It was loaded."""
        self._late.pop(ref, None)

    def _error(self, ref: str) -> LoadOverdue:
        late = self._late[ref]
        row = f", {late.times} times in a row" if late.times > 1 else ""
        since, until = self._utc(late.since), self._utc(late.until)
        return LoadOverdue(
            f"{ref} did not load within {late.limit_s:g} s{row}; "
            f"it is refused since {since} and tried again from {until} on"
        )

    def _utc(self, at: float) -> str:
        moment = datetime.now(UTC) + timedelta(seconds=at - self._now())
        return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
