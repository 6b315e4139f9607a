"""Ending a job on request: at once while it waits, through its worker while it runs."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
import structlog

from gateway.lookup import Lookup
from gateway.ports import Bus, Cancels
from shared.errors import Unavailable
from shared.events import Event
from shared.messages import job_document

log = structlog.get_logger()


class Canceler:
    """Cancels jobs and tells the subscribers."""

    def __init__(self, store: Cancels, bus: Bus, lookup: Lookup) -> None:
        self._store = store
        self._bus = bus
        self._lookup = lookup

    async def cancel(self, tenant: str, job_id: UUID) -> dict[str, Any]:
        """Ask for the end of a job; returns it as it is now.

        Raises:
            NotFound: This tenant has no such job.
            JobEnded: It had ended before.
            Unavailable: PostgreSQL is away.
        """
        ended = await self._store.cancel(tenant, job_id)
        document = job_document(await self._lookup.row(tenant, job_id))
        if ended is not None:
            await self._announce(tenant, ended, document)
        else:
            await self._nudge(job_id)
        return await self._lookup.shown(document)

    async def _announce(self, tenant: str, ended: Event, document: dict[str, Any]) -> None:
        try:
            await self._bus.announce(tenant, ended, msgspec.json.encode(document))
        except Unavailable as error:  # the sweep tells the subscribers, the row tells everybody else
            log.warning("job.unannounced", job_id=str(ended.job_id), reason=str(error))

    async def _nudge(self, job_id: UUID) -> None:
        try:
            await self._bus.nudge(job_id)
        except Unavailable as error:  # the worker reads the row with its next renewal, within 5 s
            log.warning("job.unnudged", job_id=str(job_id), reason=str(error))
