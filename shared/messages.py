"""What crosses the broker and Redis: the hint that a row wants to run, and a job as the API shows it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from shared.events import timestamp
from shared.jobs import Job


class Hint(msgspec.Struct, frozen=True, kw_only=True):
    """A message says only that a row may want to run; the row is the truth."""

    v: Literal[1] = 1
    job_id: UUID
    traceparent: str | None = None


def encode_hint(job_id: UUID, traceparent: str | None = None) -> bytes:
    """The message body: constant in size whatever the job."""
    return msgspec.json.encode(Hint(job_id=job_id, traceparent=traceparent))


def decode_hint(body: bytes) -> Hint:
    """The inverse of encode_hint.

    Raises:
        ValueError: The body is not a hint of a version this process knows.
    """
    return msgspec.json.decode(body, type=Hint)


def job_document(job: Job) -> dict[str, Any]:
    """A job as the API shows it, JSON-ready, less ``urls`` and the signed ``url`` of each output."""
    return {
        "id": str(job.id),
        "model": job.model,
        "model_version": job.model_version,
        "queue": job.queue,
        "state": job.state.value,
        "done": job.state.terminal,
        "seq": job.seq,
        "cancel_requested": job.cancel_requested,
        "priority": job.priority,
        "attempt": job.attempt,
        "max_attempts": job.max_attempts,
        "retry_of": str(job.retry_of) if job.retry_of else None,
        "queue_position": job.queue_position,
        "queue_reason": job.queue_reason,
        "estimated_start_at": None,
        "inputs": dict(job.inputs),
        "params": dict(job.params),
        "metadata": dict(job.metadata),
        "outputs": {name: dict(output) for name, output in job.outputs.items()},
        "error": dict(job.error) if job.error else None,
        "progress": job.progress,
        "created_at": timestamp(job.created_at),
        "run_at": _optional(job.run_at),
        "queued_at": _optional(job.queued_at),
        "started_at": _optional(job.started_at),
        "finished_at": _optional(job.finished_at),
        "timings": dict(job.timings),
        "receipt": dict(job.receipt) if job.receipt else None,
        "trace": _trace(job.traceparent),
    }


def _trace(traceparent: str | None) -> dict[str, Any] | None:
    """Of a `traceparent` that the gateway wrote itself: version, trace, span and flags."""
    if not traceparent:
        return None
    _, trace_id, _, flags = traceparent.split("-")
    return {"id": trace_id, "recorded": bool(int(flags, 16) & 1)}


def _optional(moment: datetime | None) -> str | None:
    return timestamp(moment) if moment else None
