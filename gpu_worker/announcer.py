"""Tells the subscribers. The row is committed by now, so what fails here is logged and fails no job."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import msgspec
import structlog

from gpu_worker.ports import Bus, Reads
from gpu_worker.trail import NO_TRAIL, Trail
from shared.errors import Unavailable
from shared.events import Event, EventType
from shared.jobs import Claim, Job
from shared.messages import job_document
from shared.telemetry.conventions import PUBLISH_EVENT
from shared.telemetry.tracing import Kind, Span

log = structlog.get_logger()


class Announcer:
    """The worker's voice on the bus."""

    def __init__(self, bus: Bus, reads: Reads) -> None:
        self._bus = bus
        self._reads = reads
        self._telling: set[asyncio.Task[None]] = set()

    async def tell(
        self, tenant: str, event: Event, job: Job | None = None, *, trail: Trail = NO_TRAIL
    ) -> None:
        """Push an event, and keep the job's document when it ended."""
        result = msgspec.json.encode(job_document(job)) if job else None
        with trail.stage("announce", Kind.CLIENT, PUBLISH_EVENT) as span:
            try:
                await self._bus.announce(tenant, _within(event, span), result)
            except Unavailable as error:
                span.fail(error.code)
                log.warning("job.unannounced", job_id=str(event.job_id), type=event.type, reason=str(error))

    def tell_soon(
        self, tenant: str, event: Event, job: Job | None = None, *, trail: Trail = NO_TRAIL
    ) -> None:
        """Do the same without holding up whoever calls; announcements keep their order."""
        work = self.tell(tenant, event, job, trail=trail)
        task = asyncio.create_task(work, name=f"announce {event.job_id}")
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    def tell_started(self, claim: Claim, trail: Trail = NO_TRAIL) -> None:
        """Push the `job.running` of a claim, without holding up the job for it."""
        self._soon(claim, EventType.RUNNING, claim.started_at, {"attempt": claim.attempt}, trail)

    def tell_progress(self, claim: Claim, progress: float) -> None:
        """Push a progress event: it repeats the claim's `seq`, and may be lost."""
        self._soon(claim, EventType.PROGRESS, datetime.now(UTC), {"progress": round(progress, 4)})

    async def repeat(self, job_id: UUID) -> None:
        """Announce a job's last event again: whoever committed it may have died before telling."""
        found = await self._reads.last_event(job_id)
        if found is not None:
            tenant, event = found
            await self.tell(tenant, event, await self._reads.job(tenant, job_id))

    def _soon(
        self,
        claim: Claim,
        type_: EventType,
        at: datetime,
        data: dict[str, float | int],
        trail: Trail = NO_TRAIL,
    ) -> None:
        event = Event(seq=claim.seq, job_id=claim.id, type=type_, at=at, data=data)
        self.tell_soon(claim.tenant, event, trail=trail)

    async def settle(self) -> None:
        """Let what is being told be told, before the bus closes."""
        if self._telling:
            await asyncio.wait(self._telling, timeout=2)


def _within(event: Event, span: Span) -> Event:
    """The event with its place in the trace, where there is one: the pushes go on from it."""
    if span.context is None:
        return event
    span.note("leveret.event.type", event.type.value)
    return replace(event, traceparent=str(span.context))
