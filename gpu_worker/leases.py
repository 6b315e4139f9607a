"""Keeps the leases of the jobs in hand, and learns from each renewal who wants a job to stop.

On database connections shared with heartbeats only: a pool busy with commits must not cost a lease.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection
from uuid import UUID

import structlog
from prometheus_client import Counter

from gpu_worker.hold import Hold, Stop
from gpu_worker.pace import Pace
from gpu_worker.ports import LeaseStore
from shared.errors import OutcomeUnknown, Unavailable
from shared.jobs import Claim

log = structlog.get_logger()

LOST = Counter("leveret_worker_leases_lost_total", "Jobs in hand that are somebody else's by now")
UNRENEWED = Counter("leveret_worker_renewals_failed_total", "Renewals of all leases without an answer")

RENEW_S = 5.0
AGAIN_S = 1.0


class Leases:
    """The jobs in hand.

    Attributes:
        claims: How many there have been.
        pace: How long those were in hand that nobody asked to stop.
    """

    def __init__(self, store: LeaseStore) -> None:
        self._store = store
        self._held: dict[UUID, Hold] = {}
        self._nudged = asyncio.Event()
        self.claims = 0
        self.pace = Pace()

    @property
    def busy(self) -> int:
        """Jobs in hand."""
        return len(self._held)

    @property
    def holds(self) -> Collection[Hold]:
        """The jobs in hand."""
        return self._held.values()

    def add(self, hold: Hold) -> None:
        """From now on its lease is renewed."""
        if older := self._held.get(hold.claim.id):
            _lose(older)  # this worker lost the job, and got it again before it noticed
        hold.began = asyncio.get_running_loop().time()
        self._held[hold.claim.id] = hold
        self.claims += 1

    def remove(self, hold: Hold) -> None:
        """The job left this worker's hands."""
        if self._held.get(hold.claim.id) is hold:
            del self._held[hold.claim.id]
        if hold.stop is None:
            self.pace.note(hold.model, asyncio.get_running_loop().time() - hold.began)

    def hold(self, claim: Claim) -> Hold | None:
        """The hold on just this attempt, if it is in hand."""
        held = self._held.get(claim.id)
        return held if held is not None and held.claim.fence == claim.fence else None

    def ask_all(self, reason: Stop) -> None:
        """Ask every job in hand to stop."""
        for hold in self._held.values():
            hold.ask(reason)

    def nudge(self, job_id: UUID) -> None:
        """The row of this job, if it is in hand, wants to be read now and not with the next renewal."""
        if job_id in self._held:
            self._nudged.set()

    async def run(self) -> None:
        """Renew until cancelled. While PostgreSQL is away nothing is judged and no job is given up."""
        while True:
            self._nudged.clear()
            try:
                await self.renew()
            except (Unavailable, OutcomeUnknown) as error:
                UNRENEWED.inc()
                log.warning("lease.not_renewed", jobs=len(self._held), reason=str(error))
                await asyncio.sleep(AGAIN_S)
            else:
                await self._nudged_within(RENEW_S)

    async def _nudged_within(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._nudged.wait()

    async def renew(self) -> None:
        """Extend every lease once, and pass on what the answer says.

        Raises:
            Unavailable: PostgreSQL is away.
            OutcomeUnknown: Its answer was lost.
        """
        asked = dict(self._held)
        if not asked:
            return
        answer = await self._store.renew(
            {id_: (hold.claim.fence, hold.progress) for id_, hold in asked.items()}
        )
        for id_, hold in asked.items():
            if id_ not in answer:
                _lose(hold)
            elif answer[id_]:
                hold.ask(Stop.CANCELED)


def _lose(hold: Hold) -> None:
    if hold.stop is not Stop.LOST:  # each renewal says so again until the job has stopped
        LOST.inc()
    hold.ask(Stop.LOST)
