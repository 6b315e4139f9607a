"""Writes down which jobs are at work in an engine: should this worker die now, they are the ones to blame.

Not before a job begins, which would cost each one a round trip, but a moment after: what kills a machine by
its memory takes longer than that, and most jobs that are short have left by then. (A job that was in hand and
not marked is given back unspent, which is bounded as well.)
"""

from __future__ import annotations

import asyncio

import structlog

from gpu_worker.hold import Hold
from gpu_worker.leases import Leases
from gpu_worker.ports import Marking
from shared.errors import OutcomeUnknown, Unavailable

log = structlog.get_logger()

AFTER_S = 0.02
AGAIN_S = 1.0


class Marks:
    """One per worker.

    Args:
        store: The rows.
        leases: Who is still in hand.
    """

    def __init__(self, store: Marking, leases: Leases) -> None:
        self._store = store
        self._leases = leases
        self._begun: list[Hold] = []
        self._some = asyncio.Event()

    def begun(self, hold: Hold) -> None:
        """An engine begins with this job."""
        self._begun.append(hold)
        self._some.set()

    async def run(self) -> None:
        """Mark until cancelled."""
        while True:
            await self._some.wait()
            await asyncio.sleep(AFTER_S)
            try:
                await self._mark()
            except (Unavailable, OutcomeUnknown) as error:
                log.warning("job.unmarked", jobs=len(self._begun), reason=str(error))
                await asyncio.sleep(AGAIN_S)

    async def _mark(self) -> None:
        self._some.clear()
        self._begun = [hold for hold in self._begun if self._leases.hold(hold.claim) is hold]
        marking = list(self._begun)
        try:
            await asyncio.gather(*(self._store.enter(hold.claim) for hold in marking))
        except (Unavailable, OutcomeUnknown):
            self._some.set()
            raise
        self._begun = [hold for hold in self._begun if hold not in marking]
