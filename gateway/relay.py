"""Drives everything that has to be published again, and is the only judge of leases. Every replica runs one.

Each tick, in this order, so that what comes due in a tick is published in it:

    1. waiting jobs whose time has come are queued
    2. jobs that were not started in time expire
    3. jobs whose worker went silent are queued again, failed or canceled
    4. messages that the broker lost, and jobs that waited too long, are marked as due (see redelivery)
    5. due rows get their message; a confirm clears the mark, a claim clears it as well

A row's next try is committed before its message is sent, so copies of one job grow with the logarithm of its
wait, and a crash in between costs nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

import msgspec
import structlog
from prometheus_client import Counter

from gateway.ports import Bus, Publisher, Reads, Submits
from shared.errors import Misconfigured, OutcomeUnknown, Unavailable
from shared.events import Event
from shared.messages import job_document

log = structlog.get_logger()

TICK_S = 1.0
LEASE_GRACE_S = 20.0
"""Uninterrupted answers from PostgreSQL before a lease may be judged: after a fail-over the workers' renewals
come first, or every long job would be run again."""

REPAIRS = Counter("leveret_relay_events_total", "What the relay changed, by event type", ["type"])
REPUBLISHED = Counter("leveret_relay_published_total", "Messages the relay sent", ["queue"])


class Due(Protocol):
    """A row that wants its message."""

    @property
    def id(self) -> UUID:
        """The job's."""

    @property
    def queue(self) -> str:
        """Where it goes."""

    @property
    def priority(self) -> int:
        """0 … 10."""

    @property
    def publish_due(self) -> datetime:
        """The mark that a confirm may clear."""

    @property
    def traceparent(self) -> str | None:
        """To go with it."""


Announcements = Sequence[tuple[str, Event]]


class RelayRows(Protocol):
    """The relay's duties as the store offers them; all raise Unavailable and OutcomeUnknown."""

    async def take_due(self) -> Sequence[Due]:
        """Rows to publish now, their next try set."""

    async def expire_leases(self) -> Announcements:
        """Jobs whose worker went silent."""

    async def wake_waiting(self) -> Announcements:
        """Jobs whose time has come."""

    async def expire_starts(self) -> Announcements:
        """Jobs that were not started in time."""


class Redelivers(Protocol):
    """Marks as due what has to be published again."""

    async def check(self) -> None:
        """Look; raises Unavailable and OutcomeUnknown."""


class Relay:
    """One per gateway process.

    Args:
        rows: The duties.
        redelivery: Finds lost messages.
        submits: Takes the confirms.
        reads: For the documents of jobs that ended here.
        publisher: To the queues.
        bus: To the subscribers.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        *,
        rows: RelayRows,
        redelivery: Redelivers,
        submits: Submits,
        reads: Reads,
        publisher: Publisher,
        bus: Bus,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rows = rows
        self._redelivery = redelivery
        self._submits = submits
        self._reads = reads
        self._publisher = publisher
        self._bus = bus
        self._clock = clock
        self._answering_since: float | None = None

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            try:
                await self.tick()
            except (Unavailable, OutcomeUnknown) as error:
                self._answering_since = None
                log.warning("relay.interrupted", reason=str(error))
            await asyncio.sleep(TICK_S)

    async def tick(self) -> None:
        """Do every duty once.

        Raises:
            Unavailable: PostgreSQL is away; the next tick starts its count of uninterrupted answers anew.
            OutcomeUnknown: Its answer was lost.
        """
        await self._announce(self._rows.wake_waiting)
        await self._announce(self._rows.expire_starts)
        if self._may_judge():
            await self._announce(self._rows.expire_leases)
        await self._redelivery.check()
        await self._publish_due()

    def _may_judge(self) -> bool:
        now = self._clock()
        if self._answering_since is None:
            self._answering_since = now
        return now - self._answering_since >= LEASE_GRACE_S

    async def _announce(self, duty: Callable[[], Awaitable[Announcements]]) -> None:
        for tenant, event in await duty():
            REPAIRS.labels(event.type.value).inc()
            log.info("relay.changed", job_id=str(event.job_id), type=event.type.value)
            await self._tell(tenant, event)

    async def _tell(self, tenant: str, event: Event) -> None:
        result = await self._document(tenant, event.job_id) if event.type.terminal else None
        try:
            await self._bus.announce(tenant, event, result)
        except Unavailable as error:  # the sweep tells the subscribers, the row tells everybody else
            log.warning("job.unannounced", job_id=str(event.job_id), reason=str(error))

    async def _document(self, tenant: str, job_id: UUID) -> bytes | None:
        job = await self._reads.job(tenant, job_id)
        return msgspec.json.encode(job_document(job)) if job else None

    async def _publish_due(self) -> None:
        due = await self._rows.take_due()
        await asyncio.gather(*(self._publish(row) for row in due))

    async def _publish(self, row: Due) -> None:
        try:
            await self._publisher.publish(
                row.queue, row.id, priority=row.priority, traceparent=row.traceparent
            )
        except (Unavailable, Misconfigured) as error:  # the row is due again, later each time
            log.warning("relay.unpublished", job_id=str(row.id), queue=row.queue, reason=str(error))
        else:
            REPUBLISHED.labels(row.queue).inc()
            await self._submits.published(row.id, row.publish_due)
