"""Answers about jobs: the hot result where Redis has it, the row otherwise. Another tenant's is none."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
import structlog

from gateway.links import Links
from gateway.ports import Bus, Reads
from shared.errors import NotFound, Unavailable
from shared.events import Event
from shared.jobs import Attempt, Job
from shared.messages import job_document

log = structlog.get_logger()

NO_JOB = "there is no such job"


class Lookup:
    """Reads jobs for one tenant at a time.

    Raises from every method:
        NotFound: This tenant has no such job.
        Unavailable: PostgreSQL is away.
    """

    def __init__(self, reads: Reads, bus: Bus, links: Links) -> None:
        self._reads = reads
        self._bus = bus
        self._links = links

    async def job(self, tenant: str, job_id: UUID) -> dict[str, Any]:
        """The job as the API shows it."""
        return await self.shown(
            await self._hot(tenant, job_id) or job_document(await self.row(tenant, job_id))
        )

    async def row(self, tenant: str, job_id: UUID) -> Job:
        """The job's row."""
        job = await self._reads.job(tenant, job_id)
        if job is None:
            raise NotFound(NO_JOB)
        return job

    async def output(self, tenant: str, job_id: UUID, name: str) -> dict[str, Any]:
        """One output, without an address."""
        document = await self._hot(tenant, job_id) or job_document(await self.row(tenant, job_id))
        if name not in document["outputs"]:
            raise NotFound(f"the job has no output {name!r}" + ("" if document["done"] else " yet"))
        return dict(document["outputs"][name])

    async def events(self, tenant: str, job_id: UUID, after: int) -> list[dict[str, Any]]:
        """The history with ``seq > after``; a cursor beyond its end counts as 0."""
        events = await self._reads.events(tenant, job_id, 0)
        if not events:
            raise NotFound(NO_JOB)
        after = after if after <= events[-1].seq else 0
        return [await self.shown_event(event) for event in events if event.seq > after]

    async def attempts(self, tenant: str, job_id: UUID) -> list[Attempt]:
        """Its ended runs, oldest first."""
        attempts = await self._reads.attempts(tenant, job_id)
        if not attempts:
            await self.row(tenant, job_id)
        return attempts

    async def shown(self, document: dict[str, Any]) -> dict[str, Any]:
        """A job document with its addresses."""
        outputs = await self._links.signed(document["id"], document["outputs"])
        return {
            **document,
            "outputs": outputs,
            "urls": self._links.urls(document["id"], document.get("trace")),
        }

    async def shown_event(self, event: Event) -> dict[str, Any]:
        """An event as it is sent; a terminal one with addresses for its outputs."""
        document = event.document()
        if outputs := document["data"].get("outputs"):
            document["data"]["outputs"] = await self._links.signed(document["job_id"], outputs)
        return document

    async def _hot(self, tenant: str, job_id: UUID) -> dict[str, Any] | None:
        try:
            kept = await self._bus.result(tenant, job_id)
            return msgspec.json.decode(kept, type=dict[str, Any]) if kept else None
        except (Unavailable, msgspec.DecodeError) as error:
            log.debug("job.no_hot_result", job_id=str(job_id), reason=str(error))
            return None
