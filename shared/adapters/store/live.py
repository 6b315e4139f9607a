"""How many jobs have come since a page was opened: statements that cost the same whatever there is."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from shared.adapters.store.pool import Database

NEWEST = "select id from specs order by id desc limit 1"
NEWEST_OF = "select id from specs where tenant = $1 order by id desc limit 1"

# Ids rise with time, so that this is a walk along the end of an index.
NEWER = """
select (select count(*) from (select id from specs where id > mark.id limit $2) newer)::int as count
from unnest($1::uuid[]) with ordinality as mark(id, place) order by mark.place
"""
NEWER_OF = """
select (select count(*)
        from (select id from specs where tenant = $3 and id > mark.id limit $2) newer)::int as count
from unnest($1::uuid[]) with ordinality as mark(id, place) order by mark.place
"""


class LiveStore:
    """Reads; every method raises Unavailable when the database is away.

    `tenant` is whose jobs are looked at; None: everybody's.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def newest(self, tenant: str | None) -> UUID | None:
        """The last job made; None where there is none."""
        asked = (NEWEST,) if tenant is None else (NEWEST_OF, tenant)
        rows = await self._database.read(*asked)
        return rows[0]["id"] if rows else None

    async def newer(self, tenant: str | None, than: Sequence[UUID], *, limit: int) -> Sequence[int]:
        """How many jobs were made after each of these, counted up to a limit."""
        values = (list(than), limit)
        if tenant is None:
            rows = await self._database.read(NEWER, *values)
        else:
            rows = await self._database.read(NEWER_OF, *values, tenant)
        return [row["count"] for row in rows]
