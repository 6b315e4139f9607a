"""Rows into the domain's records, and the errors that the store itself writes."""

from __future__ import annotations

import asyncpg

from shared.errors import EngineDied, JobCanceled
from shared.events import Event, EventType

CANCELED = {"code": JobCanceled.code, "message": "canceled on request", "retryable": False}
START_TIMEOUT = {"code": "start_timeout", "message": "not started within start_timeout_s", "retryable": False}
WORKER_LOST = {
    "code": EngineDied.code,
    "message": "the worker vanished: it was killed, cut off or its machine went away",
    "retryable": True,
}


def event_of(row: asyncpg.Record) -> Event:
    """The event in a row with ``job_id, seq, type, at, data``."""
    return Event(
        seq=row["seq"],
        job_id=row["job_id"],
        type=EventType(row["type"]),
        at=row["at"],
        data=row["data"],
    )
