"""Lists of jobs, counts, and a job's attempts, worded as the API shows them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from gateway.lists.asked import JobFilter, ListQuery, write_cursor
from gateway.lists.ports import Rows, Run, Runs
from gateway.lookup import NO_JOB
from gateway.ports import Caller
from shared.errors import NotFound
from shared.events import timestamp
from shared.listing import Page, Row, moment_of, spans
from shared.tariff import money


class Lists:
    """Answers about many jobs at once.

    Raises from every method:
        Forbidden: Every tenant's jobs were asked for, with a key of a tenant.
        Unavailable: PostgreSQL is away.
    """

    def __init__(self, rows: Rows, runs: Runs) -> None:
        self._rows = rows
        self._runs = runs

    async def page(self, caller: Caller, asked: ListQuery) -> dict[str, Any]:
        """A page, newest first."""
        page = await self._rows.page(asked.wanted(caller), before=asked.before, limit=asked.limit)
        return {
            "jobs": rows_of(page),
            "next_cursor": write_cursor(page.cursor) if page.cursor else None,
            "searched_to": timestamp(moment_of(page.searched_to)) if page.searched_to else None,
            "server_time": timestamp(page.at),
        }

    async def counts(self, caller: Caller, asked: JobFilter) -> dict[str, Any]:
        """How many there are in each state, counted as far as that is cheap."""
        counts = await self._rows.counts(asked.wanted(caller))
        told = {state.value: {"n": count.n, "more": count.more} for state, count in counts.items()}
        return {"counts": told, "server_time": timestamp(datetime.now(UTC))}

    async def whose(self, caller: Caller, job_id: UUID) -> str:
        """The tenant of a job: the caller's own, or any for an operator.

        Raises:
            NotFound: There is no such job for this caller.
        """
        return (
            caller.tenant if caller.role != "operator" else (await self._row(caller, job_id)).rows[0].tenant
        )

    async def attempts(self, caller: Caller, job_id: UUID) -> dict[str, Any]:
        """A job's row and its attempts, oldest first; of any tenant's job for an operator.

        Raises:
            NotFound: There is no such job for this caller.
        """
        page = await self._row(caller, job_id)
        runs = await self._runs.runs(job_id)
        return {
            "job": row_document(page.rows[0], page.at),
            "attempts": [_run(run, page.at) for run in runs],
            "server_time": timestamp(page.at),
        }

    async def _row(self, caller: Caller, job_id: UUID) -> Page:
        page = await self._rows.row(None if caller.role == "operator" else caller.tenant, job_id)
        if not page.rows:
            raise NotFound(NO_JOB)
        return page


def rows_of(page: Page) -> list[dict[str, Any]]:
    """The jobs of a page."""
    return [row_document(row, page.at) for row in page.rows]


def row_document(row: Row, now: datetime) -> dict[str, Any]:
    """A job in a list."""
    error = {"code": row.error_code, "message": row.message or ""} if row.error_code else None
    moments = ("created_at", "run_at", "queued_at", "started_at", "finished_at")
    return {
        "id": str(row.id),
        "tenant": row.tenant,
        "model": row.model,
        "model_version": row.model_version,
        "queue": row.queue,
        "state": row.state.value,
        "priority": row.priority,
        "attempt": row.attempt,
        "max_attempts": row.max_attempts,
        "worker": row.worker,
        "error": error,
        "fingerprint": row.fingerprint,
        "queue_reason": row.queue_reason,
        "queue_position": None,
        "cancel_requested": row.cancel_requested,
        "progress": row.progress,
        **{name: _moment(getattr(row, name)) for name in moments},
        "retry_of": str(row.retry_of) if row.retry_of else None,
        "seq": row.seq,
        **spans(row, now),
    }


def _run(run: Run, now: datetime) -> dict[str, Any]:
    timings = dict(run.timings)
    batch = timings.pop("batch_size", None)
    return {
        "attempt": run.attempt,
        "fence": run.fence,
        "worker": run.worker,
        "device": run.device,
        "host": run.host,
        "outcome": run.outcome,
        "started_at": timestamp(run.started_at),
        "finished_at": _moment(run.finished_at),
        "run_s": round(max(0.0, ((run.finished_at or now) - run.started_at).total_seconds()), 3),
        "timings": timings,
        "batch_size": int(batch) if batch is not None else None,
        "error": dict(run.error) if run.error else None,
        "log_bytes": run.log_bytes,
        "machine_s": run.machine_s,
        "gpu_s": run.gpu_s,
        "cost": money(run.cost),
    }


def _moment(moment: datetime | None) -> str | None:
    return timestamp(moment) if moment else None
