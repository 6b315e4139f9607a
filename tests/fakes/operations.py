"""The rows that operators see, in memory, behind the ports of `gateway.operations`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.adapters.store.looks import LookRow
from shared.adapters.store.operations import DecisionRow, LoadRow, PaceRow, PresentRow
from shared.adapters.store.overrides import Override
from shared.adapters.store.pauses import Pause

NOW = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)


def load(queue: str, priority: int, *, waiting: int = 0, running: int = 0, oldest_s: float = 1.0) -> LoadRow:
    oldest = oldest_s if waiting else None
    return LoadRow(
        queue=queue, priority=priority, waiting=waiting, running=running, scheduled=0, oldest_s=oldest
    )


def pace(queue: str, *, ended: int = 10, ran: int = 10, mean_s: float | None = 20.0) -> PaceRow:
    return PaceRow(queue=queue, ended=ended, window_s=300.0, ran=ran, mean_s=mean_s)


def present(
    id: str,  # noqa: A002  the column's name
    queue: str = "quick",
    *,
    state: str = "ready",
    busy: int = 0,
    slots: int = 1,
    drain: bool = False,
    heartbeat_s: float = 3.0,
) -> PresentRow:
    return PresentRow(
        id=id,
        queue=queue,
        state=state,
        host="here",
        device="cpu",
        slots=slots,
        busy=busy,
        drain=drain,
        started_at=NOW,
        since=NOW,
        heartbeat_s=heartbeat_s,
        jobs=[],
    )


def decided(id: int, queue: str = "quick", want: int | None = 1) -> DecisionRow:  # noqa: A002  idem
    return DecisionRow(
        id=id, queue=queue, at=NOW, want=want, have=0, reason="one waits", actions={"launch": 1}, inputs={}
    )


def looked(at_s: float = 0.0, *, for_s: float = 30.0, age_s: float = 1.0, **told: Any) -> LookRow:
    """A span that began so long after NOW."""
    at = NOW + timedelta(seconds=at_s)
    known: dict[str, Any] = {"want": 1, "asked": 1, "bound": None, "serving": 1, "starting": 0, "leaving": 0}
    limits: dict[str, Any] = {"min": 0, "max": 4, "min_ordered": False, "max_ordered": False}
    return LookRow(
        id=1,
        at=at,
        until=at + timedelta(seconds=for_s),
        gap_s=90.0,
        age_s=age_s,
        **({"queue": "quick"} | known | limits | told),
    )


@dataclass
class FakeOperations:
    """Records and settings in one.

    Attributes:
        asked: How often anything was read or written.
    """

    load_rows: list[LoadRow] = field(default_factory=list)
    pace_rows: list[PaceRow] = field(default_factory=list)
    present_rows: dict[str, PresentRow] = field(default_factory=dict)
    decided_rows: list[DecisionRow] = field(default_factory=list)
    set_rows: dict[str, Override] = field(default_factory=dict)
    pause_rows: dict[str, Pause] = field(default_factory=dict)
    look_rows: list[LookRow] = field(default_factory=list)
    asked: int = 0

    async def loads(self) -> Sequence[LoadRow]:
        self.asked += 1
        return self.load_rows

    async def paces(self) -> Sequence[PaceRow]:
        self.asked += 1
        return self.pace_rows

    async def came(self) -> Mapping[str, float]:
        self.asked += 1
        return {}

    async def pauses(self) -> Mapping[str, Pause]:
        self.asked += 1
        return self.pause_rows

    async def hold(self, queue: str, *, by: str) -> Pause:
        self.asked += 1
        self.pause_rows[queue] = Pause(paused=True, changed_by=by, changed_at=NOW)
        return self.pause_rows[queue]

    async def let_go(self, queue: str, *, by: str) -> Pause:
        self.asked += 1
        self.pause_rows[queue] = Pause(paused=False, changed_by=by, changed_at=NOW)
        return self.pause_rows[queue]

    async def workers(self) -> Sequence[PresentRow]:
        self.asked += 1
        return list(self.present_rows.values())

    async def worker(self, id: str) -> PresentRow | None:  # noqa: A002  as the port says
        self.asked += 1
        return self.present_rows.get(id)

    async def drain(self, id: str) -> None:  # noqa: A002  as the port says
        self.asked += 1
        self.present_rows[id] = replace(self.present_rows[id], drain=True)

    async def undrain(self, id: str) -> bool:  # noqa: A002  as the port says
        self.asked += 1
        heard = self.present_rows[id].state == "draining"
        self.present_rows[id] = replace(self.present_rows[id], drain=heard)
        return not heard

    async def decisions(self, queue: str, *, before: int | None, limit: int) -> Sequence[DecisionRow]:
        self.asked += 1
        found = [
            row for row in self.decided_rows if row.queue == queue and (before is None or row.id < before)
        ]
        return sorted(found, key=lambda row: -row.id)[:limit]

    async def latest(self, queues: Sequence[str]) -> Sequence[DecisionRow]:
        self.asked += 1
        newest = {row.queue: row for row in sorted(self.decided_rows, key=lambda row: row.id)}
        return [newest[queue] for queue in queues if queue in newest]

    async def looks(self, queues: Sequence[str]) -> Sequence[LookRow]:
        self.asked += 1
        newest = {row.queue: row for row in self.look_rows}
        return [newest[queue] for queue in queues if queue in newest]

    async def spans(self, queue: str, *, since_s: float) -> Sequence[LookRow]:
        self.asked += 1
        return [row for row in self.look_rows if row.queue == queue]

    async def knows(self, queue: str) -> bool:
        self.asked += 1
        return queue in self.set_rows or any(row.queue == queue for row in self.decided_rows)

    async def overrides(self) -> Mapping[str, Override]:
        self.asked += 1
        return self.set_rows

    async def override(
        self,
        queue: str,
        *,
        by: str,
        limits: dict[str, int | None] | None = None,
        paused: bool | None = None,
    ) -> Override | None:
        self.asked += 1
        before = self.set_rows.get(
            queue, Override(min=None, max=None, paused=False, changed_by="", changed_at=NOW)
        )
        low, high = (
            (before.min, before.max)
            if limits is None
            else (limits.get("min", before.min), limits.get("max", before.max))
        )
        if low is not None and high is not None and low > high:
            return None
        held = before.paused if paused is None else paused
        self.set_rows[queue] = Override(min=low, max=high, paused=held, changed_by=by, changed_at=NOW)
        return self.set_rows[queue]
