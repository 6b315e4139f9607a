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

RECEIPT = """
jsonb_build_object(
    'attempts', r.attempts, 'machine_s', round(r.machine_s::numeric, 6), 'gpu_s', round(r.gpu_s::numeric, 6),
    'cost', trim_scale(r.cost)::text, 'currency', r.currency,
    'wasted_attempts', r.wasted_attempts, 'wasted_s', round(r.wasted_s::numeric, 6),
    'wasted_cost', trim_scale(r.wasted_cost)::text, 'worker', r.worker, 'device', r.device)
"""
"""A job's receipt from a row `r` with its sums; what is unknown of one attempt is so of all together.
Wasted is what had to be done again: attempts that were retried, given back or lost."""


def event_of(row: asyncpg.Record) -> Event:
    """The event in a row with ``job_id, seq, type, at, data``, and ``traceparent`` where it is to be told."""
    return Event(
        seq=row["seq"],
        job_id=row["job_id"],
        type=EventType(row["type"]),
        at=row["at"],
        data=row["data"],
        traceparent=row.get("traceparent"),
    )
