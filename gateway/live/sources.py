"""Where the rows of each topic come from, and how often they are looked at."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from itertools import islice
from typing import Any, Protocol
from uuid import UUID

from gateway.live.viewer import JOBS, OVERVIEW, QUEUES, SCALER, WORKERS, Rows, Shown, Viewer, encoded
from shared.jobs import State

JOBS_S = 0.5
CREW_S = 2.0
OVERVIEW_S = 5.0
AT_ONCE = 200
MAX_NEW = 1000
BEAT_S = 5.0
"""Above the haste of looking twice at one heartbeat, below the pause between two."""
AGES = frozenset({"age_s", "wait_s", "run_s"})
ENDED = frozenset(state.value for state in State if state.terminal)

Document = Mapping[str, Any]


class JobRows(Protocol):
    """Reads jobs for lists."""

    async def some(self, tenant: str | None, ids: Sequence[UUID]) -> Sequence[Document]:
        """The rows of these jobs, of one tenant or (None) of all; raises Unavailable."""

    async def newest(self, tenant: str | None) -> UUID | None:
        """The last one made."""

    async def newer(self, tenant: str | None, than: Sequence[UUID], *, limit: int) -> Sequence[int]:
        """How many jobs have a higher id than each of these, counted up to a limit."""


class OperatorDesk(Protocol):
    """What operators see."""

    async def queues(self) -> Sequence[Document]:
        """Every queue."""

    async def workers(self, queue: str | None) -> Sequence[Document]:
        """Every worker."""

    async def fleets(self) -> Sequence[Document]:
        """Every fleet."""


class Overviews(Protocol):
    """What the overview shows."""

    async def overview(self, tenant: str | None) -> Document:
        """Of one tenant, or (None) of all."""


class JobSource:
    """The jobs on anybody's page. What has ended never changes, so it is read once.

    Args:
        rows: Reads them.
        tenant: Whose they are; None: everybody's.
    """

    period_s = JOBS_S

    def __init__(self, rows: JobRows, tenant: str | None) -> None:
        self._rows = rows
        self._tenant = tenant
        self._ended: dict[UUID, Shown] = {}

    async def look(self, viewers: Collection[Viewer]) -> Rows:
        """The rows of all that is shown; tells each viewer how many jobs are new to it."""
        shown = {id_ for viewer in viewers for id_ in viewer.wish.ids}
        self._ended = {id_: row for id_, row in self._ended.items() if id_ in shown}
        rows = {str(id_): row for id_, row in self._ended.items()}
        for ids in _batches(shown - self._ended.keys()):
            rows |= await self._read(ids)
        await self._count_new(viewers)
        return rows

    async def _read(self, ids: Sequence[UUID]) -> Rows:
        found = await self._rows.some(self._tenant, ids)
        rows = encoded(((str(row["id"]), row) for row in found), _but_ages)
        self._ended |= {UUID(row["id"]): rows[row["id"]] for row in found if row["state"] in ENDED}
        return rows

    async def _count_new(self, viewers: Collection[Viewer]) -> None:
        fresh = [viewer for viewer in viewers if viewer.newest is None]
        if fresh:
            newest = await self._rows.newest(self._tenant) or UUID(int=0)
            for viewer in fresh:
                viewer.newest = newest
        waiting = [
            (viewer, viewer.newest) for viewer in viewers if viewer.newest and viewer.new_jobs < MAX_NEW
        ]
        if waiting:
            marks = [mark for _, mark in waiting]
            counts = await self._rows.newer(self._tenant, marks, limit=MAX_NEW)
            for (viewer, mark), count in zip(waiting, counts, strict=True):
                if viewer.newest == mark:  # it may have asked anew meanwhile
                    viewer.count_new(count)


class TableSource:
    """All rows of something that is small.

    Args:
        read: Reads them.
        key: The field that tells them apart.
        mark: What has to change for a row to be told anew; anything, where it is left out.
    """

    period_s = CREW_S

    def __init__(
        self,
        read: Callable[[], Awaitable[Sequence[Document]]],
        key: str,
        mark: Callable[[Document], object] | None = None,
    ) -> None:
        self._read = read
        self._key = key
        self._mark = mark

    async def look(self, viewers: Collection[Viewer]) -> Rows:  # noqa: ARG002  all see the same
        """The rows as they are now."""
        return encoded(((str(row[self._key]), row) for row in await self._read()), self._mark)


class OverviewSource:
    """The overview, of one tenant or of all."""

    period_s = OVERVIEW_S

    def __init__(self, overviews: Overviews, tenant: str | None) -> None:
        self._overviews = overviews
        self._tenant = tenant

    async def look(self, viewers: Collection[Viewer]) -> Rows:  # noqa: ARG002  all see the same
        """One row."""
        return encoded([(OVERVIEW, await self._overviews.overview(self._tenant))])


def sources(
    jobs: JobRows, desk: OperatorDesk, overviews: Overviews
) -> dict[str, Callable[[str | None], Any]]:
    """What a hub looks at, by topic."""
    return {
        JOBS: lambda tenant: JobSource(jobs, tenant),
        QUEUES: lambda _: TableSource(desk.queues, "queue"),
        WORKERS: lambda _: TableSource(lambda: desk.workers(None), "id", _heard),
        SCALER: lambda _: TableSource(desk.fleets, "queue"),
        OVERVIEW: lambda tenant: OverviewSource(overviews, tenant),
    }


def _but_ages(job: Document) -> Document:
    """What the clock alone changes is no news."""
    return {name: value for name, value in job.items() if name not in AGES}


def _heard(worker: Document) -> Document:
    """A worker is news when it has beaten, and not because time has passed since."""
    jobs = [job["id"] for job in worker["jobs"]]
    beaten = round((time.time() - worker["heartbeat_s"]) / BEAT_S)
    return {**worker, "jobs": jobs, "heartbeat_s": beaten}


def _batches(ids: Collection[UUID]) -> list[list[UUID]]:
    rest = iter(sorted(ids))
    return list(iter(lambda: list(islice(rest, AT_ONCE)), []))
