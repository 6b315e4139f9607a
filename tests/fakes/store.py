"""PostgreSQL in memory, as far as the gateway reads it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from shared.errors import Unavailable
from shared.events import Event, EventType
from shared.jobs import Attempt, Job


@dataclass
class FakeReads:
    """Histories of jobs; `away` makes every question fail."""

    histories: defaultdict[tuple[str, UUID], list[Event]] = field(default_factory=lambda: defaultdict(list))
    away: bool = False
    asked: int = 0

    def add(self, tenant: str, job_id: UUID, kind: EventType) -> Event:
        """Commit the next event of a job."""
        history = self.histories[tenant, job_id]
        event = Event(seq=len(history) + 1, job_id=job_id, type=kind, at=datetime.now(UTC), data={})
        history.append(event)
        return event

    async def events(self, tenant: str, job_id: UUID, after: int = 0) -> list[Event]:
        self._check()
        return [event for event in self.histories.get((tenant, job_id), []) if event.seq > after]

    async def seqs(self, ids: Sequence[UUID]) -> dict[UUID, int]:
        self._check()
        return {job_id: len(history) for (_, job_id), history in self.histories.items() if job_id in ids}

    async def job(self, tenant: str, job_id: UUID) -> Job | None:
        raise NotImplementedError

    async def attempts(self, tenant: str, job_id: UUID) -> list[Attempt]:
        raise NotImplementedError

    def _check(self) -> None:
        self.asked += 1
        if self.away:
            raise Unavailable("PostgreSQL is away")
