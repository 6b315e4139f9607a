"""What one message leaves in its job's trace: the wait before it, the attempt, the attempt's stages.

    wait                        from queued to claimed, below the submit that created the message
    process leveret.QUEUE       from the claim to the commit; the span of the attempt, linked to that submit
      claim  fetch  run  store  commit  announce
                 prepare  infer  finish      told by the engine, which knows nothing of traces

The attempt's span is told when the attempt has been committed. That of a worker that died is told by the
relay, under the same id.
"""

from __future__ import annotations

import math
import time
from typing import Protocol
from uuid import UUID

from gpu_worker.engine.calls import EngineResult
from shared.jobs import Claim
from shared.telemetry.conventions import UPDATE, attempt, messaging
from shared.telemetry.tracecontext import Context, attempt_span_id, parse_traceparent
from shared.telemetry.tracing import NOTHING, OFF, Attributes, Ended, Kind, Span, Tracing, Value

STEPS = ("prepare", "infer", "finish")
FAR_S = 1e10
"""No machine is up so long, and no job takes so long."""


class Trail(Protocol):
    """A message's part of the trace."""

    @property
    def context(self) -> Context | None:
        """Of the attempt; None while there is none, and where nothing is traced."""

    def claimed(self, claim: Claim) -> None:
        """Its claim was given."""

    def refused(self, job_id: UUID, state: str) -> None:
        """There was nothing to claim: the message is a copy, or came too late."""

    def stage(self, name: str, kind: Kind = Kind.INTERNAL, attributes: Attributes | None = None) -> Span:
        """Begin a stage of the attempt."""

    def ran(self, run: Span, result: EngineResult) -> None:
        """What the engine did within the stage `run`."""

    def left(self, state: str, error: str) -> None:
        """What became of the attempt is committed."""


class NoTrail:
    """Nothing is traced. One for all."""

    __slots__ = ()
    context: Context | None = None

    def claimed(self, claim: Claim) -> None:
        """Say nothing."""

    def refused(self, job_id: UUID, state: str) -> None:
        """Say nothing."""

    def stage(self, *_: object) -> Span:
        """Nothing."""
        return NOTHING

    def ran(self, run: Span, result: EngineResult) -> None:
        """Say nothing."""

    def left(self, state: str, error: str) -> None:
        """Say nothing."""


NO_TRAIL: Trail = NoTrail()


class Trails:
    """Begins the trail of each message.

    Args:
        tracing: On or off.
        destination: The broker's name of the queue.
    """

    def __init__(self, tracing: Tracing, destination: str) -> None:
        self._tracing = tracing
        self._destination = destination

    def begin(self, traceparent: str | None) -> Trail:
        """The worker turns to a message that says so."""
        if not self._tracing.on:
            return NO_TRAIL
        return Recording(self._tracing, self._destination, parse_traceparent(traceparent))


UNTRACED = Trails(OFF, "")


class Recording:
    """The trail of a message in hand."""

    def __init__(self, tracing: Tracing, destination: str, created: Context | None) -> None:
        self.context: Context | None = None
        self._tracing = tracing
        self._destination = destination
        self._created = created
        self._began_ns = time.time_ns()
        self._attributes: dict[str, Value] = {}
        self._job_id: UUID | None = None

    def claimed(self, claim: Claim) -> None:
        """From here on there is an attempt, if the row's trace is recorded."""
        self._created = parse_traceparent(claim.traceparent) or self._created
        if self._created is None or not self._created.sampled:
            return
        self.context = self._created.child(attempt_span_id(claim.id, claim.fence))
        self._job_id = claim.id
        self._attributes = attempt(
            job_id=claim.id,
            attempt=claim.attempt,
            fence=claim.fence,
            model=f"{claim.model}@{claim.model_version}",
            tenant=claim.tenant,
        )
        now_ns, began_ns = time.time_ns(), self._began_ns
        # Both moments are the database's: only what lies between them means anything to this clock.
        waited_ns = int((claim.started_at - claim.queued_at).total_seconds() * 1e9)
        told = self._attributes
        self._tell("wait", self._created, min(now_ns - waited_ns, began_ns), began_ns, attributes=told)
        self._tell("claim", self.context, began_ns, now_ns, Kind.CLIENT, attributes=UPDATE)

    def refused(self, job_id: UUID, state: str) -> None:
        """A span of its own: the message was looked at, and nothing came of it."""
        if self._created is None or not self._created.sampled:
            return
        self._job_id = job_id
        self._process(self._created.child(), state, "")

    def stage(self, name: str, kind: Kind = Kind.INTERNAL, attributes: Attributes | None = None) -> Span:
        """Begin a stage of the attempt."""
        return self._tracing.span(name, self.context, kind=kind, attributes=attributes)

    def ran(self, run: Span, result: EngineResult) -> None:
        """The engine's steps, of the moments and seconds that it told; an algorithm may have forged them."""
        if run.context is None:
            return
        run.note("leveret.batch.size", result.batch_size)
        now_ns = time.time_ns()
        offset_ns = now_ns - time.perf_counter_ns()
        for step in STEPS:
            if (span := _moments(result, step, offset_ns)) is not None:
                start_ns, end_ns = (min(now_ns, max(self._began_ns, moment)) for moment in span)
                shared = self._others(result) if step == "infer" else ()
                attributes: Attributes = {"leveret.batch.size": result.batch_size} if shared else {}
                self._tell(step, run.context, start_ns, end_ns, attributes=attributes, links=shared)

    def left(self, state: str, error: str) -> None:
        """The attempt's own span; that of one that counts for nothing the relay has told already."""
        if self.context is None or self._created is None:
            return
        if state == "discarded":
            now_ns = time.time_ns()
            self._tell("discard", self.context, now_ns, now_ns, attributes={}, error="fence_lost")
        else:
            self._process(self.context, state, error)

    def _process(self, context: Context, state: str, error: str) -> None:
        created, job_id = self._created, self._job_id
        if created is None or job_id is None:
            return
        said = messaging("process", "process", self._destination, job_id)
        attributes = {**said, **self._attributes, "leveret.job.state": state}
        self._tracing.tell(
            Ended(
                name=f"process {self._destination}",
                kind=Kind.CONSUMER,
                context=context,
                parent=created,
                start_ns=self._began_ns,
                end_ns=time.time_ns(),
                attributes=attributes,
                links=(created,),
                error=error,
                remote=True,
            )
        )

    def _others(self, result: EngineResult) -> tuple[Context, ...]:
        mates = (mate for mate in result.together if isinstance(mate, Context))
        return tuple(mate for mate in mates if mate != self.context)

    def _tell(
        self,
        name: str,
        parent: Context,
        start_ns: int,
        end_ns: int,
        kind: Kind = Kind.INTERNAL,
        *,
        attributes: Attributes,
        links: tuple[Context, ...] = (),
        error: str = "",
    ) -> None:
        self._tracing.tell(
            Ended(
                name=name,
                kind=kind,
                context=parent.child(),
                parent=parent,
                start_ns=start_ns,
                end_ns=end_ns,
                attributes=attributes,
                links=links,
                error=error,
                remote=parent is self._created,
            )
        )


def _moments(result: EngineResult, step: str, offset_ns: int) -> tuple[int, int] | None:
    """When a step began and ended, since 1970; the engine's monotonic clock is this machine's."""
    began, took = result.began.get(step, math.nan), result.timings.get(f"{step}_s", math.nan)
    if not (abs(began) < FAR_S and abs(took) < FAR_S):  # what is no number is not either
        return None
    start_ns = offset_ns + int(began * 1e9)
    return start_ns, start_ns + int(took * 1e9)
