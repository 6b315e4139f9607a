"""Drives everything that has to be published again, and is the only judge of leases. Every replica runs one.

Four loops beside each other, each talking to one server, so that none of them waits for another's:

    judge       PostgreSQL   waiting jobs whose time has come are queued, those not started in time expire,
                             those whose worker went silent are queued again, failed or canceled
    publish     RabbitMQ     due rows get their message; a confirm clears the mark, a claim clears it as well
    redeliver   RabbitMQ     messages that the broker lost, and jobs that waited too long, are marked as due
    announce    Redis        what the judge changed is pushed

A row's next try is committed before its message is sent, so copies of one job grow with the logarithm of its
wait, and a crash in between costs nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime
from functools import partial
from typing import Protocol
from uuid import UUID

import msgspec
import structlog
from prometheus_client import Counter

from gateway.ports import Bus, Publisher, Reads, Submits
from gateway.repairs import repaired
from shared.errors import Misconfigured, OutcomeUnknown, Unavailable
from shared.events import Event
from shared.lifecycle import watched
from shared.messages import job_document
from shared.telemetry.tracecontext import parse_traceparent

log = structlog.get_logger()

TICK_S = 1.0
LEASE_GRACE_S = 20.0
"""Uninterrupted answers from PostgreSQL before a lease may be judged: after a fail-over the workers' renewals
come first, or every long job would be run again."""

STEADY_S = 5.0
"""Between two answers; longer is an interruption, whatever the cause."""
MAX_UNTOLD = 10_000
ANNOUNCE_AT_ONCE = 50

CHANGES = Counter("leveret_gateway_relay_events_total", "What the relay changed, by event type", ["type"])
REPUBLISHED = Counter("leveret_gateway_relay_published_total", "Messages the relay sent", ["queue"])


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

    async def take_due(self, *, refused: Collection[str] = ()) -> Sequence[Due]:
        """Rows to publish now, their next try set; those of refused queues stay due."""

    async def put_back(self, marks: Sequence[tuple[UUID, datetime]]) -> None:
        """Rows whose message could not be sent: soon due again, the try not counted."""

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
        self._answering_since = self._answered_at = -math.inf
        self._untold: asyncio.Queue[tuple[str, Event]] = asyncio.Queue(MAX_UNTOLD)
        self._due = asyncio.Event()

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for name, duty in (
                ("judge", partial(self._repeat, self.judge)),
                ("publish", partial(self._repeat, self.publish, wake=self._due)),
                ("redeliver", partial(self._repeat, self._redelivery.check)),
                ("announce", self._announce),
            ):
                tasks.create_task(watched(f"relay.{name}", duty), name=f"relay.{name}")

    async def judge(self) -> None:
        """Do every duty towards the rows once.

        Raises:
            Unavailable: PostgreSQL is away.
            OutcomeUnknown: Its answer was lost.
        """
        await self._do(self._rows.wake_waiting)
        await self._do(self._rows.expire_starts)
        if self._may_judge():
            repaired("lease_expired", await self._do(self._rows.expire_leases))

    async def publish(self) -> None:
        """Send the messages that are due.

        Raises:
            Unavailable: PostgreSQL is away.
            OutcomeUnknown: Its answer was lost.
        """
        self._due.clear()
        due = await self._rows.take_due(refused=self._publisher.refused)
        sent = await asyncio.gather(*(self._publish(row) for row in due))
        if any(sent):  # there may be more; while the broker takes none, one batch a tick is enough to know
            self._due.set()
        kept = [(row.id, row.publish_due) for row, gone in zip(due, sent, strict=True) if not gone]
        if kept:
            await self._rows.put_back(kept)

    async def _repeat(self, duty: Callable[[], Awaitable[None]], wake: asyncio.Event | None = None) -> None:
        wake = wake or asyncio.Event()
        while True:
            try:
                await duty()
            except (Unavailable, OutcomeUnknown) as error:
                log.warning("relay.interrupted", reason=str(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await wake.wait()

    async def _do(self, duty: Callable[[], Awaitable[Announcements]]) -> int:
        """Do one duty; returns how many jobs it changed."""
        changes = await duty()
        self._heard()
        for tenant, event in changes:
            self._note(tenant, event)
        return len(changes)

    def _heard(self) -> None:
        """PostgreSQL answered; whether it was slow or not asked, so long after the last answer is a gap."""
        now = self._clock()
        if now - self._answered_at > STEADY_S:
            self._answering_since = now
        self._answered_at = now

    def _may_judge(self) -> bool:
        """Answers have come without a gap for long enough, up to the last one, just now."""
        return self._answered_at - self._answering_since >= LEASE_GRACE_S

    def _note(self, tenant: str, event: Event) -> None:
        CHANGES.labels(event.type.value).inc()
        trace = parse_traceparent(event.traceparent)
        named = {"trace_id": trace.trace_id} if trace else {}
        log.info("relay.changed", job_id=str(event.job_id), type=event.type.value, **named)
        self._due.set()
        if self._untold.full():
            self._untold.get_nowait()  # the subscribers' sweep finds it
        self._untold.put_nowait((tenant, event))

    async def _announce(self) -> None:
        while True:
            batch = [await self._untold.get()]
            while len(batch) < ANNOUNCE_AT_ONCE and not self._untold.empty():
                batch.append(self._untold.get_nowait())
            await asyncio.gather(*(self._tell(tenant, event) for tenant, event in batch))

    async def _tell(self, tenant: str, event: Event) -> None:
        try:
            result = await self._document(tenant, event.job_id) if event.type.terminal else None
            await self._bus.announce(tenant, event, result)
        except Unavailable as error:  # the sweep tells the subscribers, the row tells everybody else
            log.warning("job.unannounced", job_id=str(event.job_id), reason=str(error))

    async def _document(self, tenant: str, job_id: UUID) -> bytes | None:
        job = await self._reads.job(tenant, job_id)
        return msgspec.json.encode(job_document(job)) if job else None

    async def _publish(self, row: Due) -> bool:
        """Send one message; whether the broker has it."""
        try:
            await self._publisher.publish(
                row.queue, row.id, priority=row.priority, traceparent=row.traceparent
            )
        except (Unavailable, Misconfigured) as error:
            log.warning("relay.unpublished", job_id=str(row.id), queue=row.queue, reason=str(error))
            return False
        REPUBLISHED.labels(row.queue).inc()
        await self._submits.published(row.id, row.publish_due)
        return True
