"""Gives back, of the jobs in hand, those that will not end in the time left: others start them at once."""

from __future__ import annotations

import asyncio
import math

import structlog

from gpu_worker.hold import Hold, Stop
from gpu_worker.leases import Leases
from gpu_worker.triage import InHand, rest_s, too_long

log = structlog.get_logger()


class Handover:
    """Applies `triage` to the jobs in hand.

    Args:
        leases: The jobs in hand, and how long such jobs took before.
    """

    def __init__(self, leases: Leases) -> None:
        self._leases = leases
        self._told = False

    def sift(self, left_s: float) -> None:
        """Ask those jobs to stop that will not end within the seconds left; the others go on.

        To be repeated while they do: a job that takes longer than was assumed is given back then.
        """
        if math.isinf(left_s):
            return
        now = asyncio.get_running_loop().time()
        going_on = [hold for hold in self._leases.holds if hold.stop is None]
        jobs = [self._known_of(hold, now) for hold in going_on]
        given_back = too_long(jobs, left_s)
        for hold in going_on:
            if hold.claim.id in given_back:
                hold.ask(Stop.RELEASED)
        self._tell(jobs, given_back, left_s)

    def _known_of(self, hold: Hold, now: float) -> InHand:
        return InHand(
            id=hold.claim.id,
            elapsed_s=now - hold.began,
            progress=hold.progress,
            past_s=self._leases.pace.took_s(hold.model),
            computed=hold.computed,
        )

    def _tell(self, jobs: list[InHand], given_back: frozenset[object], left_s: float) -> None:
        """What was decided on each job, by the seconds more that it is assumed to take."""
        if self._told and not given_back:
            return
        self._told = True
        rests = {job.id: round(rest_s(job), 1) for job in jobs}
        log.info(
            "worker.decided",
            left_s=round(left_s, 1),
            given_back={str(id_): rest for id_, rest in rests.items() if id_ in given_back},
            kept={str(id_): rest for id_, rest in rests.items() if id_ not in given_back},
        )
