"""Jobs as a page's rows: what a list shows of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from uuid import UUID

from gateway.lists.jobs import rows_of
from gateway.lists.ports import Rows
from shared.listing import Filter


class Marks(Protocol):
    """What came lately; every call raises Unavailable."""

    async def newest(self, tenant: str | None) -> UUID | None:
        """The last job made."""

    async def newer(self, tenant: str | None, than: Sequence[UUID], *, limit: int) -> Sequence[int]:
        """How many came after each."""


class LiveJobs:
    """Reads jobs for pages.

    Args:
        rows: The lists'.
        marks: What came lately.
    """

    def __init__(self, rows: Rows, marks: Marks) -> None:
        self._rows = rows
        self.newest = marks.newest
        self.newer = marks.newer

    async def some(self, tenant: str | None, ids: Sequence[UUID]) -> Sequence[Mapping[str, Any]]:
        """The rows of these jobs, as lists show them; raises Unavailable."""
        page = await self._rows.page(Filter(tenant=tenant, ids=tuple(ids)), before=None, limit=len(ids))
        return rows_of(page)
