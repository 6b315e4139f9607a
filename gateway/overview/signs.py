"""What the overview's verdict rests on: values only, from wherever they came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSigns:
    """One queue.

    Attributes:
        waiting: Jobs that could run now.
        oldest_s: For how long the first of them has waited.
        ready: Workers that take jobs.
        starting: Workers that will.
        paused_by: Who holds the queue, as ``tenant/name``.
        fleet_paused_by: Who keeps its scaler from acting.
        fleet_max: So many workers an operator's order allows; None: there is none.
        scaled: A scaler has decided on its fleet within the day.
        offered: The catalog has a model for it.
    """

    queue: str
    waiting: int = 0
    oldest_s: float | None = None
    ready: int = 0
    starting: int = 0
    paused_by: str | None = None
    fleet_paused_by: str | None = None
    fleet_max: int | None = None
    scaled: bool = False
    offered: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSigns:
    """A worker that was not heard of.

    Attributes:
        silent_s: For so long.
        jobs: How many it holds.
    """

    id: str
    silent_s: float
    jobs: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureSigns:
    """What failed most often lately.

    Attributes:
        fingerprint: Of its group.
        count: How many of them failed so.
        message: In the words of the last one.
        command: Lists them.
    """

    fingerprint: str
    code: str
    model: str
    count: int
    message: str
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """All that the verdict rests on; None: not known.

    Attributes:
        queues: Every queue.
        silent: Workers that missed three heartbeats.
        rows_s: How long PostgreSQL took for the looks of this page.
        redis: Whether it answers.
        broker: Whether it answers.
        repaired: Jobs put right by this gateway's relay within the last minute.
        window_s: What lately is: a minute, or more where a minute holds too few.
        failure_ratio: Of the jobs that ended lately.
        failure_ratio_before: Of the ten minutes before; not known where lately is longer than a minute.
        ended: How many ended lately.
        retried: Attempts that failed lately, and are repeated.
        repeating: What most of the last hour's died of, and in which model.
        failing: Most of what failed, where that is worth a look.
    """

    queues: Sequence[QueueSigns] = ()
    silent: Sequence[WorkerSigns] = ()
    rows_s: float | None = None
    redis: bool | None = None
    broker: bool | None = None
    repaired: int | None = None
    failure_ratio: float | None = None
    failure_ratio_before: float | None = None
    ended: int = 0
    window_s: float = 60.0
    retried: int = 0
    repeating: str | None = None
    failing: FailureSigns | None = None
