"""What this gateway has seen waiting, queue by queue, for a day. Pure.

How deep a queue was is written down nowhere: rows say how things stand, and a job that has started waits no
more. So a gateway remembers what it counted; where it was away, or could not count, there is a gap.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from gateway.operations.ports import Load

KEPT_S = 86_400.0
MOST = 10_000
"""Looks that are kept; at one in ten seconds it is a day's."""


@dataclass(frozen=True, slots=True)
class _Seen:
    at: float
    waiting: Mapping[str, int]


class Depths:
    """One per gateway.

    Args:
        clock: Seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen: deque[_Seen] = deque(maxlen=MOST)

    def note(self, loads: Iterable[Load]) -> None:
        """Remember what waits now; a queue in which nothing does costs nothing."""
        waiting: dict[str, int] = {}
        for load in loads:
            if load.waiting:
                waiting[load.queue] = waiting.get(load.queue, 0) + load.waiting
        now = self._clock()
        while self._seen and self._seen[0].at < now - KEPT_S:
            self._seen.popleft()
        self._seen.append(_Seen(now, waiting))

    def steps(self, first: int, count: int, step_s: float) -> Mapping[str, list[int | None]]:
        """By queue, for each step what waited at the moment at which most did; None where nobody looked.

        Args:
            first: The first step, in seconds since 1970 by `step_s`.
            count: So many steps.
            step_s: A step's length, seconds.
        """
        most: list[_Seen | None] = [None] * count
        for seen in self._seen:
            place = int(seen.at // step_s) - first
            if 0 <= place < count:
                known = most[place]
                if known is None or sum(seen.waiting.values()) >= sum(known.waiting.values()):
                    most[place] = seen
        queues = sorted({queue for seen in most if seen for queue in seen.waiting})
        return {queue: [seen.waiting.get(queue, 0) if seen else None for seen in most] for queue in queues}

    def seen(self, first: int, count: int, step_s: float) -> list[bool]:
        """For each step whether anybody looked: an empty queue is not a look that failed."""
        places = {int(seen.at // step_s) - first for seen in self._seen}
        return [place in places for place in range(count)]
