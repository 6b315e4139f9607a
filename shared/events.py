"""The one envelope that history, SSE, WebSocket and webhooks share."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from shared.jobs import State


class EventType(enum.StrEnum):
    """Every event a client can meet. Only ``job.progress`` may be dropped."""

    QUEUED = "job.queued"
    RUNNING = "job.running"
    PROGRESS = "job.progress"
    RELEASED = "job.released"
    RETRYING = "job.retrying"
    SUCCEEDED = "job.succeeded"
    FAILED = "job.failed"
    CANCELED = "job.canceled"
    EXPIRED = "job.expired"

    @property
    def terminal(self) -> bool:
        """Whether the job has ended with this event."""
        return self in TERMINAL


TERMINAL = frozenset({EventType.SUCCEEDED, EventType.FAILED, EventType.CANCELED, EventType.EXPIRED})
BY_STATE = {
    State.SUCCEEDED: EventType.SUCCEEDED,
    State.FAILED: EventType.FAILED,
    State.CANCELED: EventType.CANCELED,
    State.EXPIRED: EventType.EXPIRED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a job.

    Attributes:
        seq: Position in the job's history, from 1; a progress event repeats the current one.
        data: Of a terminal event the outputs or the error, so that no further call is needed.
        traceparent: Between processes only, never in `document`: what the pushes of it belong to.
    """

    seq: int
    job_id: UUID
    type: EventType
    at: datetime
    data: Mapping[str, Any]
    traceparent: str | None = None

    def document(self) -> dict[str, Any]:
        """The envelope as the API shows it, JSON-ready."""
        return {
            "seq": self.seq,
            "job_id": str(self.job_id),
            "type": self.type.value,
            "at": timestamp(self.at),
            "data": dict(self.data),
        }


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds: ``2026-11-22T09:30:00.123Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def encode(event: Event) -> bytes:
    """The envelope as JSON bytes, with its place in a trace where it has one."""
    document = event.document()
    if event.traceparent is not None:
        document["traceparent"] = event.traceparent
    return msgspec.json.encode(document)


def decode(body: bytes | str) -> Event:
    """The inverse of encode.

    Raises:
        ValueError: The bytes are not an event.
    """
    return msgspec.json.decode(body, type=Event)
