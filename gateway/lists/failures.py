"""What broke, since when, and where: failures in groups, each with the filter to act on it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol
from uuid import UUID

from gateway.lists.asked import tenant_of
from gateway.lists.jobs import rows_of
from gateway.lists.ports import Rows
from gateway.ports import Caller
from shared.errors import NotFound
from shared.events import timestamp
from shared.listing import FAILED, FailureFilter, FailureGroup, FailureLook, Filter

BUCKETS = 24
ROUND_S = (2.5, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200)
SLACK_S = 5.0
"""From one look to the next."""
SAMPLES = 20
NO_GROUP = "nothing failed with this fingerprint"


class Records(Protocol):
    """Reads failures."""

    async def look(self, wanted: FailureFilter) -> FailureLook:
        """The groups of a window."""

    async def known(self, tenant: str | None, fingerprint: str) -> bool:
        """Whether anything ever failed so."""

    async def traceback(self, job_id: UUID) -> tuple[int | None, str]:
        """The last attempt's number and traceback."""


class Failures:
    """Answers about failures.

    Raises from every method:
        Forbidden: Every tenant's were asked for, with a key of a tenant.
        Unavailable: PostgreSQL is away.
    """

    def __init__(self, records: Records, rows: Rows) -> None:
        self._records = records
        self._rows = rows

    async def groups(self, caller: Caller, scope: str, since_s: float, **said: str | None) -> dict[str, Any]:
        """What failed within the last `since_s` seconds."""
        asked = FailureFilter(tenant=tenant_of(caller, scope), since_s=since_s, **said)
        look = await self._look(asked)
        return {"groups": [_document(group) for group in look.groups], **_window(look), "more": look.more}

    async def group(self, caller: Caller, scope: str, since_s: float, fingerprint: str) -> dict[str, Any]:
        """One group, with a traceback, its latest jobs and the filter that finds them.

        Raises:
            NotFound: Nothing of this caller's ever failed so, or not in the window.
        """
        tenant = tenant_of(caller, scope)
        asked = FailureFilter(tenant=tenant, since_s=since_s, fingerprint=fingerprint)
        look = await self._look(asked)
        if not look.groups:
            known = await self._records.known(tenant, fingerprint)
            raise NotFound(NO_GROUP + (": not within this window" if known else ""))
        group = look.groups[0]
        attempt, traceback = await self._records.traceback(group.sample_job)
        wanted = Filter(tenant=tenant, fingerprint=fingerprint)
        page = await self._rows.page(wanted, before=None, limit=SAMPLES)
        return {
            **_document(group),
            "traceback": traceback,
            "attempt": attempt,
            "jobs": rows_of(page),
            "filter": {"fingerprint": fingerprint, "state": sorted(FAILED)},
            **_window(look),
        }

    async def _look(self, asked: FailureFilter) -> FailureLook:
        """The groups of the window, in buckets that begin where there is something to see.

        Nothing is lost by a shorter window that holds all that the longer one did; an incident of today would
        be one spike of 30 days.
        """
        look = await self._records.look(asked)
        shorter_s = shortest_window(look)
        if shorter_s is None or shorter_s > asked.since_s / 2:
            return look
        return await self._records.look(replace(asked, since_s=shorter_s))


def shortest_window(look: FailureLook) -> float | None:
    """Seconds of the shortest window of round buckets that holds them all; None where none is known to."""
    if look.more or not look.groups:
        return None
    age_s = (look.now - min(group.first_at for group in look.groups)).total_seconds() + SLACK_S
    return next((bucket_s * BUCKETS for bucket_s in ROUND_S if bucket_s * BUCKETS >= age_s), None)


def _window(look: FailureLook) -> dict[str, Any]:
    return {
        "since": timestamp(look.since),
        "bucket_s": look.bucket_s,
        "server_time": timestamp(look.now),
    }


def _document(group: FailureGroup) -> dict[str, Any]:
    return {
        "fingerprint": group.fingerprint,
        "code": group.code,
        "type": group.type,
        "message": group.message,
        "count": group.count,
        "retried": group.retried,
        "open": group.count - group.retried,
        "first_at": timestamp(group.first_at),
        "last_at": timestamp(group.last_at),
        "points": [group.points.get(str(number), 0) for number in range(BUCKETS)],
        **{kind: list(group.names.get(kind, ())) for kind in ("models", "workers", "queues")},
        "sample_job": str(group.sample_job),
        "open_job": str(group.open_job) if group.open_job else None,
    }
