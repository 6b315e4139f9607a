"""Who did what by hand, and when. Rows are only ever added."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.adapters.store.pool import Database

RECORD = "insert into audit (actor, action, target, count, detail) values ($1, $2, $3, $4, $5)"
LAST = 2**63 - 1
# One statement per filter, each by its own index.
_COLUMNS = "select id, at, actor, action, target, count, detail from audit where id < $1"
ENTRIES = {
    (False, False): f"{_COLUMNS} order by id desc limit $2",
    (True, False): f"{_COLUMNS} and action = $3 order by id desc limit $2",
    (False, True): f"{_COLUMNS} and actor = $3 order by id desc limit $2",
    (True, True): f"{_COLUMNS} and action = $3 and actor = $4 order by id desc limit $2",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Something that somebody did.

    Attributes:
        actor: The key, as ``tenant/name``.
        action: What, as ``noun.verb``.
        target: To which job, worker, queue or action.
        count: To how many jobs, where that is the question.
    """

    id: int
    at: datetime
    actor: str
    action: str
    target: str
    count: int | None
    detail: Mapping[str, Any]


class AuditStore:
    """The table `audit`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(
        self, actor: str, action: str, target: str, *, count: int | None, detail: Mapping[str, Any]
    ) -> None:
        """Write down what was done.

        Raises:
            Unavailable: Nothing was written.
            OutcomeUnknown: Perhaps it was.
        """
        await self._database.write(RECORD, actor, action, target, count, detail)

    async def entries(
        self, *, action: str | None, actor: str | None, before: int | None, limit: int
    ) -> list[Entry]:
        """The latest entries, newest first.

        Raises:
            Unavailable: The database is away.
        """
        sql = ENTRIES[action is not None, actor is not None]
        given = [value for value in (action, actor) if value is not None]
        rows = await self._database.read(sql, LAST if before is None else before, limit, *given)
        return [Entry(**dict(row)) for row in rows]
