"""Accepting a job: check, bytes to the object store, one insert, one confirmed publish, the answer.

From the insert on the job is never lost: a publish whose confirm is late or missing is the relay's to repeat,
and the caller gets the same 202.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import structlog
from prometheus_client import Counter
from uuid_utils.compat import uuid7

from gateway.inputs import Inputs, Placed
from gateway.intake import Intake
from gateway.ports import Caller, Models, Publisher, Submits, Submitted
from gateway.queues import Queues
from gateway.refusals import UnknownModel
from shared.catalog import Model
from shared.errors import LeveretError, Misconfigured, OutcomeUnknown, Unavailable
from shared.jobs import NewJob
from shared.telemetry.conventions import INSERT, destination, messaging
from shared.telemetry.tracecontext import parse_traceparent
from shared.telemetry.tracing import NOTHING, OFF, Kind, Span, Tracing

log = structlog.get_logger()

SUBMITS = Counter("leveret_gateway_submits_total", "Submits by what became of them", ["outcome"])
LATE_CONFIRMS = Counter(
    "leveret_gateway_publish_confirms_late_total",
    "Accepted jobs answered without the broker's confirm of their message",
)
ACCEPTED, REPEATED = SUBMITS.labels("accepted"), SUBMITS.labels("repeated")
CONFIRM_WAIT_S = 1.0
SETTLE_S = 5.0


class Accepted:
    """A job that is accepted.

    Attributes:
        job: As it was inserted; of a repeat as it would have been.
        submitted: What the store says of it.
    """

    __slots__ = ("job", "submitted")

    def __init__(self, job: NewJob, submitted: Submitted) -> None:
        self.job = job
        self.submitted = submitted


class Submitter:
    """Takes jobs in."""

    def __init__(
        self,
        *,
        catalog: Models,
        inputs: Inputs,
        queues: Queues,
        store: Submits,
        publisher: Publisher,
        tracing: Tracing = OFF,
    ) -> None:
        self._catalog = catalog
        self._inputs = inputs
        self._queues = queues
        self._store = store
        self._publisher = publisher
        self._tracing = tracing
        self._publishing: set[asyncio.Task[bool]] = set()

    async def submit(
        self, caller: Caller, intake: Intake, *, idempotency_key: str | None, traceparent: str | None
    ) -> Accepted:
        """Accept a job.

        Raises:
            InvalidJob: It does not fit the catalog.
            IdempotencyConflict: The key was used with another body.
            Unavailable: PostgreSQL is away; nothing was accepted.
            StoreError: The object store is away; nothing was accepted.
            OutcomeUnknown: The answer to the commit was lost.
            Misconfigured: The model's queue cannot be used.
        """
        try:
            return await self._submit(caller, intake, idempotency_key, traceparent)
        except LeveretError as error:
            SUBMITS.labels(error.code).inc()
            raise

    async def _submit(
        self, caller: Caller, intake: Intake, idempotency_key: str | None, traceparent: str | None
    ) -> Accepted:
        model = self._model(intake.submission.model)
        self._queues.check(model.queue)
        with self._tracing.span("inputs", parse_traceparent(traceparent) if self._tracing.on else None):
            inputs = await self._inputs.place(caller, model, intake)
        job = replace(
            _new_job(caller, model, intake, inputs),
            idempotency_key=idempotency_key,
            traceparent=traceparent,
        )
        return await self.accept(job)

    async def accept(self, job: NewJob) -> Accepted:
        """Accept a job that was checked, from here or from another one's row.

        Its `traceparent` is the request's; the row and its messages get that of the span that creates it.

        Raises:
            IdempotencyConflict: The key was used with another body.
            Unavailable: PostgreSQL is away; nothing was accepted.
            OutcomeUnknown: The answer to the commit was lost.
            Misconfigured: The queue cannot be used.
        """
        self._queues.check(job.queue)
        with self._creating(job) as created:
            if created.context is not None:
                job = replace(job, traceparent=str(created.context))
            with self._tracing.span("insert", created.context, kind=Kind.CLIENT, attributes=INSERT):
                submitted = await self._store.submit(job)
            created.note("leveret.job.fresh", submitted.fresh)
        (ACCEPTED if submitted.fresh else REPEATED).inc()
        if submitted.fresh:
            log.info("job.accepted", job_id=str(job.id), tenant=job.tenant, model=job.model, queue=job.queue)
        if submitted.fresh and submitted.publish_due is not None:
            await self._published_soon(job, submitted.publish_due)
        return Accepted(job, submitted)

    def _creating(self, job: NewJob) -> Span:
        """The span that creates the job and its message."""
        above = parse_traceparent(job.traceparent) if self._tracing.on else None
        if above is None:
            return NOTHING
        queue = destination(job.queue)
        said = {**messaging("create", "create", queue, job.id), "leveret.tenant": job.tenant}
        said["leveret.model"] = f"{job.model}@{job.model_version}"
        return self._tracing.span(f"create {queue}", above, kind=Kind.PRODUCER, attributes=said)

    def _model(self, ref: str) -> Model:
        model = self._catalog.find(ref)
        if model is None:
            raise UnknownModel([("model", f"there is no model {ref!r} here")])
        return model

    async def _published_soon(self, job: NewJob, publish_due: datetime) -> None:
        """Wait a moment for the confirm. The publish itself is never cancelled: that closes its channel."""
        task = self._beside(self._publish(job, publish_due), f"publish {job.id}")
        await asyncio.wait({task}, timeout=CONFIRM_WAIT_S)
        if not (task.done() and task.exception() is None and task.result()):
            LATE_CONFIRMS.inc()

    async def _publish(self, job: NewJob, publish_due: datetime) -> bool:
        """Publish; False where the relay has to. Noting the confirm holds up nobody's answer."""
        try:
            await self._publisher.publish(
                job.queue, job.id, priority=job.priority, traceparent=job.traceparent
            )
        except (Unavailable, OutcomeUnknown, Misconfigured) as error:
            log.warning("job.publish_unconfirmed", job_id=str(job.id), reason=str(error))
            return False
        self._beside(self._note_confirm(job, publish_due), f"confirm {job.id}")
        return True

    async def _note_confirm(self, job: NewJob, publish_due: datetime) -> bool:
        """Tell the row; where that fails the relay publishes once more, and the worker drops the copy."""
        try:
            await self._store.published(job.id, publish_due)
        except (Unavailable, OutcomeUnknown) as error:
            log.warning("job.confirm_unnoted", job_id=str(job.id), reason=str(error))
            return False
        return True

    def _beside(self, work: Coroutine[Any, Any, bool], name: str) -> asyncio.Task[bool]:
        """Run to its end, whoever waits for it or not."""
        task = asyncio.create_task(work, name=name)
        self._publishing.add(task)
        task.add_done_callback(self._publishing.discard)
        return task

    async def settle(self) -> None:
        """Let the publishes under way end, before what they use is closed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S):
                while self._publishing:  # a publish that ends leaves its confirm to note
                    await asyncio.wait(set(self._publishing))


def _new_job(caller: Caller, model: Model, intake: Intake, inputs: Placed) -> NewJob:
    """The row to insert."""
    said = intake.submission
    return NewJob(
        id=uuid7(),
        tenant=caller.tenant,
        model=model.name,
        model_version=model.version,
        queue=model.queue,
        priority=said.priority,
        max_attempts=said.max_attempts or model.max_attempts,
        timeout_s=said.timeout_s or model.timeout_s,
        inputs=inputs,
        params=model.fill_params(said.params),
        metadata=said.metadata,
        destinations={name: destination.uri for name, destination in said.outputs.items()},
        body_digest=intake.digest(),
        delay_s=said.delay_s or _seconds_until(said.run_at),
        start_timeout_s=said.start_timeout_s,
    )


def _seconds_until(moment: datetime | None) -> float:
    return max(0.0, (moment - datetime.now(UTC)).total_seconds()) if moment else 0.0
