"""The store in memory by its faces, and the eye that the audit keeps on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from shared.adapters.store.relay import SERVER_GRACE_S
from shared.adapters.store.workers import WorkerIdentity
from shared.jobs import Claim
from tests.machine.audit import Audit
from tests.machine.rows import (
    MemoryAttempts,
    MemoryCancels,
    MemoryClaims,
    MemoryLeases,
    MemoryReads,
    MemorySubmits,
)
from tests.machine.rows_relay import MemoryRedelivery, MemoryRelay
from tests.machine.table import Row, Table


class MemoryBeats:
    def __init__(self, table: Table, identity: WorkerIdentity) -> None:
        self._table = table
        self._identity = identity

    def beat(self, state: str, *, busy: int, claims: int = 0, report: object = None) -> bool:
        assert busy >= 0
        assert report is None
        self._table.claims[self._identity.id] = (self._identity.queue, claims)
        return False


class Face:
    """One face of a store; every call of it is a statement with a time of its own.

    Args:
        face: Its methods return at once.
        tick: Before each.
        audit: Told who moves a row out of `running`.
        row: As it is.
    """

    def __init__(
        self, face: Any, tick: Callable[[], None], audit: Audit, row: Callable[[UUID], Row | None]
    ) -> None:
        self._face = face
        self._tick = tick
        self._audit = audit
        self._row = row

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._face, name)

        def call(*values: Any, **named: Any) -> Any:
            self._tick()
            before = self._row(values[0].id) if name in {"finish", "retry", "release"} else None
            answer = method(*values, **named)
            if before is not None and answer is not None and isinstance(values[0], Claim):
                self._audit.left(values[0], before)
            return answer

        return call


class MemoryStores:
    """All faces of one table.

    Attributes:
        server_grace_s: How long the server must be up before a lease is judged: 0 is a sabotage.
    """

    def __init__(self, elapsed: Callable[[], float], audit: Audit) -> None:
        self.table = Table(elapsed, audit)
        self.server_grace_s = SERVER_GRACE_S
        self._audit = audit

    def row(self, job_id: UUID) -> Row | None:
        return self.table.rows.get(job_id)

    def rows(self) -> list[Row]:
        return list(self.table.rows.values())

    def shift(self, seconds: float) -> None:
        """Move the server's clock."""
        self.table.skew_s += seconds

    def fail_over(self) -> None:
        self.table.fail_over()

    def close(self) -> None:
        """Nothing is open."""

    def submits(self) -> Any:
        return self._face(MemorySubmits(self.table))

    def claims(self, *, worker: str, models: list[str], slots: int) -> Any:
        return self._face(MemoryClaims(self.table, worker=worker, models=models, slots=slots))

    def leases(self) -> Any:
        return self._face(MemoryLeases(self.table))

    def attempts(self, *, worker: str) -> Any:
        return self._face(MemoryAttempts(self.table))

    def cancels(self) -> Any:
        return self._face(MemoryCancels(self.table))

    def reads(self) -> Any:
        return self._face(MemoryReads(self.table))

    def relay(self) -> Any:
        return self._face(MemoryRelay(self.table, server_grace_s=self.server_grace_s))

    def redelivery(self) -> Any:
        return self._face(MemoryRedelivery(self.table))

    def beats(self, identity: WorkerIdentity) -> Any:
        return self._face(MemoryBeats(self.table, identity))

    def _face(self, face: Any) -> Face:
        return Face(face, self.table.tick, self._audit, self.row)
