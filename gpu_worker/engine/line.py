"""Jobs between two stages of the engine process, in the order of their priority. Standard library only."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from gpu_worker.engine.job import Job
    from gpu_worker.engine.runner import Request, Runner


@dataclass(slots=True, eq=False)
class Work:
    """One request on its way through the stages.

    Attributes:
        number: The request's.
        priority: The job's; higher first.
        item: What `prepare` made.
        kind: Works of the same kind may share an `infer`.
        raw: What `infer` made of it.
        timings: Seconds by stage.
        began: When each stage began, on the machine's monotonic clock.
        batch_size: How many jobs shared its `infer`.
    """

    number: int
    priority: int
    runner: Runner
    request: Request
    job: Job
    item: Any = None
    kind: Hashable = None
    raw: Any = None
    timings: dict[str, float] = field(default_factory=dict)
    began: dict[str, float] = field(default_factory=dict)
    batch_size: int = 1


Entry = Any
"""A Work, or whatever else a stage understands."""


class Line:
    """Waiting entries; any thread may put, one thread takes."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Entry]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()

    def put(self, entry: Entry, priority: int) -> None:
        """Let it wait behind all of its priority."""
        with self._changed:
            heapq.heappush(self._heap, (-priority, next(self._numbers), entry))
            self._changed.notify()

    def take(self, idle: Callable[[], None]) -> Entry:
        """The next one; waits for it, and says so before by `idle`."""
        with self._changed:
            if self._heap:
                return heapq.heappop(self._heap)[2]
        idle()
        with self._changed:
            while not self._heap:
                self._changed.wait()
            return heapq.heappop(self._heap)[2]

    def take_like(
        self, is_like: Callable[[Entry], bool], limit: int, delay_s: float, idle: Callable[[], None]
    ) -> list[Entry]:
        """Up to `limit` more that fit; others stay.

        Waits `delay_s` at most for the last of them, and says so before by `idle`.
        """
        until = time.monotonic() + delay_s
        with self._changed:
            found = self._fitting(is_like, limit)
        if len(found) >= limit or delay_s <= 0:
            return found
        idle()
        with self._changed:
            while True:
                found += self._fitting(is_like, limit - len(found))
                left_s = until - time.monotonic()
                if len(found) >= limit or left_s <= 0:
                    return found
                self._changed.wait(left_s)

    def drop(self, entry: Entry) -> bool:
        """Take this one out; False where it does not wait here."""
        with self._changed:
            found = [each for each in self._heap if each[2] is entry]
            for each in found:
                self._heap.remove(each)
            heapq.heapify(self._heap)
            return bool(found)

    def _fitting(self, is_like: Callable[[Entry], bool], limit: int) -> list[Entry]:
        if not limit or not self._heap:
            return []
        chosen = [each for each in sorted(self._heap) if is_like(each[2])][:limit]
        for each in chosen:
            self._heap.remove(each)
        heapq.heapify(self._heap)
        return [each[2] for each in chosen]
