"""Which jobs in hand will not end in the time that is left. Pure: the standard library only.

A job that stays and does not make it costs the time left, two minutes at most: it is queued again unspent. A
job given back that would have made it costs all that it has run. So a job stays while anything speaks for it:

    computed already                only its outputs have to be stored: it stays
    its own word (`progress`)       the rest takes as long in proportion as what is done
    past runs of its model here     of those that took longer than it has run so far, three in four ended
                                    within the rest that is assumed
    none of these                   it is taken to be half way: what has run for a second may need another,
                                    what has run for an hour does not end in two minutes

The last line is what is left to say of a duration of unknown scale. Asked again as time passes, it gives a
job that had just begun half of the time left.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

QUANTILE = 0.75


@dataclass(frozen=True, slots=True, kw_only=True)
class InHand:
    """What is known of a job in hand.

    Attributes:
        id: The job.
        elapsed_s: Since it was claimed.
        progress: 0 … 1, as the algorithm told; 0 when it told nothing.
        past_s: How long earlier jobs of its model took here, from claim to commit.
        computed: The engine is done with it.
    """

    id: UUID
    elapsed_s: float
    progress: float = 0.0
    past_s: Sequence[float] = ()
    computed: bool = False


def too_long(jobs: Iterable[InHand], left_s: float) -> frozenset[UUID]:
    """The jobs to give back now, given the seconds left for work; each is judged by itself."""
    return frozenset(job.id for job in jobs if rest_s(job) > left_s)


def rest_s(job: InHand) -> float:
    """How many seconds more the job is assumed to take."""
    if job.computed:
        return 0.0
    known = [rest for rest in (_by_its_word(job), _by_past_runs(job)) if rest is not None]
    return min(known, default=job.elapsed_s)


def _by_its_word(job: InHand) -> float | None:
    if job.progress <= 0:
        return None
    return job.elapsed_s * max(0.0, 1 - job.progress) / job.progress


def _by_past_runs(job: InHand) -> float | None:
    """Of the runs that were not over by now; None when all were, for then they say nothing of this one."""
    longer = sorted(past for past in job.past_s if past > job.elapsed_s)
    if not longer:
        return None
    return longer[math.ceil(QUANTILE * len(longer)) - 1] - job.elapsed_s
