"""What a run leaves behind: looks at rows and processes, the scaler's decisions, moments, counts."""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


class Doing(enum.StrEnum):
    """What a worker's process is at."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    LEAVING = "draining"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look.

    Attributes:
        at: Seconds since the jobs came; negative before.
        waiting: Queued jobs by class.
        oldest_s: How long the one has waited that came first.
        done: Jobs that have succeeded.
        workers: Every living worker process by its id.
    """

    at: float
    waiting: Mapping[str, int]
    oldest_s: float
    done: int
    workers: Mapping[str, Doing]

    def count(self, doing: Doing) -> int:
        """Workers that are at this."""
        return sum(each is doing for each in self.workers.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A decision as the scaler wrote it down.

    Attributes:
        at: Seconds since the jobs came.
        want: None: it held.
        did: In words.
    """

    at: float
    want: int | None
    have: int
    did: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What became of the jobs and of the workers.

    Attributes:
        accepted: Answered with 202.
        lost: Without a success.
        twice: With two endings or two successes by the rows, or run twice by the algorithm's own file.
        killed_busy: Attempts that did not run to their end: given back, or their worker ended.
        silent: Workers that ended without a goodbye.
        left: Worker processes that are still there.
    """

    accepted: int
    lost: int
    twice: int
    killed_busy: int
    silent: int
    left: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Seconds since the jobs came.

    Attributes:
        drained: Somebody asked a busy worker to leave; `who` is its id.
        killed: The leading scaler was killed.
        taken_over: The other one said that it leads.
        done: The last job has ended.
        empty: The last worker has left.
    """

    drained: float
    who: str
    killed: float
    taken_over: float
    done: float
    empty: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """All of it."""

    looks: Sequence[Look]
    decisions: Sequence[Decided]
    moments: Moments
    counts: Counts

    @property
    def worker_s(self) -> float:
        """Seconds of all worker processes together."""
        return self._seconds(len(each.workers) for each in self.looks)

    @property
    def busy_s(self) -> float:
        """Of these, at work."""
        return self._seconds(each.count(Doing.BUSY) for each in self.looks)

    def _seconds(self, counts: Iterable[int]) -> float:
        gaps = [after.at - before.at for before, after in itertools.pairwise(self.looks)]
        return sum(gap * count for gap, count in zip(gaps, counts, strict=False))
