"""What machines cost, asked by operators and tenants; and the booking that keeps such questions cheap."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import structlog

from gateway.operations.costs import document, lines, total
from gateway.operations.usage import By, Usage
from gateway.ports import Caller
from gateway.refusals import InvalidRequest
from shared.errors import OutcomeUnknown, Unavailable
from shared.events import timestamp

log = structlog.get_logger()

HOUR = timedelta(hours=1)
LONGEST = timedelta(days=400)
USUAL = timedelta(days=7)
FIRST = datetime(2000, 1, 1, tzinfo=UTC)
BOOK_S = 30.0


class Accounts:
    """One per gateway process.

    Args:
        usage: The rows.
        currency: Of all prices.
        now: The wall clock, in UTC.
    """

    def __init__(
        self, usage: Usage, currency: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._usage = usage
        self._currency = currency
        self._now = now

    async def cost(
        self,
        caller: Caller,
        by: By | Literal["job"],
        span: tuple[datetime | None, datetime | None],
        limit: int,
    ) -> dict[str, Any]:
        """What was used and paid, by whole hours. A tenant sees what it used, and nothing of what idled.

        Args:
            caller: Who asks.
            by: What a row stands for.
            span: From when until when; None: the usual.
            limit: Rows at most.

        Raises:
            InvalidRequest: The time between the two is none, or too long.
            Unavailable: PostgreSQL is away.
        """
        begin, end = self._span(*span)
        whose = None if caller.role == "operator" else caller.tenant
        answer = await (
            self._by_job(begin, end, whose, limit) if by == "job" else self._by(by, begin, end, whose, limit)
        )
        told = {"by": by, "since": timestamp(begin), "until": timestamp(min(end, self._now()))}
        return {**told, "currency": self._currency, **answer}

    async def run(self) -> None:
        """Book what has ended, until cancelled. Every replica does, and each attempt counts once."""
        while True:
            try:
                while await self._usage.book():
                    pass
            except (Unavailable, OutcomeUnknown) as error:
                log.warning("accounts.interrupted", reason=str(error))
            await asyncio.sleep(BOOK_S)

    async def _by(
        self, by: By, begin: datetime, end: datetime, whose: str | None, limit: int
    ) -> dict[str, Any]:
        used = await self._usage.used(begin, end, by, whose)
        paid = await self._usage.paid(begin, end, by) if whose is None else None
        rows = lines(by, used, paid)
        shown = sorted(rows, key=lambda row: row.key or "", reverse=True) if by == "day" else rows
        return {
            "rows": [document(row) for row in shown[:limit]],
            "total": document(total(rows, paid)),
            "partial": len(rows) > limit,
        }

    async def _by_job(self, begin: datetime, end: datetime, whose: str | None, limit: int) -> dict[str, Any]:
        found, more = await self._usage.dearest(begin, end, limit + 1, whose)
        rows = lines("job", found[:limit], None)
        return {
            "rows": [document(row) for row in rows],
            "total": document(total(rows, None)),
            "partial": more or len(found) > limit,
        }

    def _span(self, since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
        """Whole hours around what was asked for."""
        now = self._now()
        end = now if until is None or until > now else until
        if end < FIRST:
            raise InvalidRequest([("query.until", "is before anything was there to be paid")])
        begin = end - USUAL if since is None else since
        if begin >= end:
            raise InvalidRequest([("query.since", "must be before `until`, and in the past")])
        if end - begin > LONGEST:
            raise InvalidRequest([("query.since", f"at most {LONGEST.days} days before `until`")])
        return _hour(begin.astimezone(UTC)), _hour(end.astimezone(UTC) + HOUR - timedelta(microseconds=1))


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)
