"""In-memory stand-ins for the worker's surroundings. They follow the store's own rules: guarded by state and
fence, so that a test of the worker meets the refusals the real rows would give."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from gpu_worker.engine.calls import EngineCall, EngineResult, OutputFile
from shared.errors import JobCanceled, LeveretError, Misconfigured, OutcomeUnknown, Unavailable
from shared.events import BY_STATE, Event, EventType
from shared.jobs import Claim, Ending, Evidence, Job, State

NOW = datetime(2026, 11, 22, tzinfo=UTC)


@dataclass(frozen=True)
class FakeRefusal:
    state: State | None
    model: str = "echo@1"
    recent: bool = True


@dataclass(frozen=True)
class FakeLeft:
    state: State
    event: Event
    machine_s: float = 1.0
    cost: Decimal | None = None


@dataclass
class FakeRow:
    claim: Claim
    state: State = State.QUEUED
    fence: int = 1
    evidence: Evidence | None = None
    last: FakeLeft | None = None


@dataclass
class FakeAttempts:
    """Rows by job id. `failures` are raised before a call, `lost` answers after it did its work; `after` are
    the failures that follow a lost answer."""

    rows: dict[UUID, FakeRow] = field(default_factory=dict)
    known: tuple[str, ...] = ("echo@1",)
    failures: list[LeveretError] = field(default_factory=list)
    lost: int = 0
    after: list[LeveretError] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    entered: list[UUID] = field(default_factory=list)

    def add(self, claim: Claim, state: State = State.QUEUED) -> FakeRow:
        return self.rows.setdefault(claim.id, FakeRow(claim, state, claim.fence))

    async def claim(self, job_id: UUID) -> Claim | FakeRefusal:
        self._call("claim")
        row = self.rows.get(job_id)
        if row is None:
            return FakeRefusal(None)
        ref = f"{row.claim.model}@{row.claim.model_version}"
        if row.state is not State.QUEUED or ref not in self.known:
            return FakeRefusal(row.state, ref)
        row.state = State.RUNNING
        self._maybe_lose()
        return row.claim

    async def recover(self, job_id: UUID) -> Claim | None:
        self._call("recover")
        row = self.rows[job_id]
        return row.claim if row.state is State.RUNNING else None

    async def enter(self, claim: Claim) -> None:
        self.entered.append(claim.id)

    async def doubt(self, job_id: UUID) -> None:
        assert job_id in self.rows
        self._call("doubt")

    async def finish(self, claim: Claim, ending: Ending) -> FakeLeft | None:
        return self._leave("finish", claim, ending.state, BY_STATE[ending.state], ending.evidence)

    async def retry(self, claim: Claim, evidence: Evidence, *, delay_s: float) -> FakeLeft | None:
        assert delay_s >= 0
        return self._leave("retry", claim, State.WAITING, EventType.RETRYING, evidence)

    async def release(self, claim: Claim, evidence: Evidence) -> FakeLeft | None:
        return self._leave("release", claim, State.QUEUED, EventType.RELEASED, evidence)

    async def left(self, claim: Claim) -> FakeLeft | None:
        self._call("left")
        row = self.rows[claim.id]
        return row.last if row.fence == claim.fence else None

    async def defer(self, job_id: UUID, error: Mapping[str, Any]) -> tuple[str, Event] | None:
        assert error["code"] == "model_unavailable"
        self._call("defer")
        row = self.rows[job_id]
        row.state = State.WAITING
        return row.claim.tenant, _event(job_id, 2, EventType.RETRYING)

    async def renew(self, held: Mapping[UUID, tuple[int, float]]) -> dict[UUID, bool]:
        self._call("renew")
        return {id_: False for id_, (fence, _) in held.items() if self._owned(id_, fence)}

    def _owned(self, job_id: UUID, fence: int) -> bool:
        row = self.rows[job_id]
        return row.state is State.RUNNING and row.fence == fence

    def _leave(
        self, name: str, claim: Claim, state: State, type_: EventType, evidence: Evidence
    ) -> FakeLeft | None:
        self._call(name)
        if not self._owned(claim.id, claim.fence):
            return None
        row = self.rows[claim.id]
        row.state, row.evidence = state, evidence
        row.last = FakeLeft(state, _event(claim.id, claim.seq + 1, type_))
        self._maybe_lose()
        return row.last

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.failures:
            raise self.failures.pop(0)

    def _maybe_lose(self) -> None:
        if self.lost:
            self.lost -= 1
            self.failures.extend(self.after)
            raise OutcomeUnknown("the answer was lost")


def _event(job_id: UUID, seq: int, type_: EventType) -> Event:
    return Event(seq=seq, job_id=job_id, type=type_, at=NOW, data={})


@dataclass
class FakeVoice:
    """The worker's side of the bus: what was announced, or that Redis is away."""

    announced: list[tuple[str, Event, bytes | None]] = field(default_factory=list)
    away: bool = False

    async def announce(self, tenant: str, event: Event, result: bytes | None = None) -> None:
        if self.away:
            raise Unavailable("Redis is away")
        self.announced.append((tenant, event, result))


@dataclass
class FakeReads:
    last: tuple[str, Event] | None = None

    async def job(self, tenant: str, job_id: UUID) -> Job | None:
        return None

    async def last_event(self, job_id: UUID) -> tuple[str, Event] | None:
        return self.last


@dataclass
class FakeDeadLetters:
    buried: list[tuple[bytes, str]] = field(default_factory=list)
    refused: bool = False

    async def dead_letter(self, body: bytes, reason: str) -> None:
        if self.refused:
            raise Misconfigured("leveret.dead has other arguments")
        self.buried.append((body, reason))


@dataclass
class FakeObjects:
    stored: dict[str, bytes] = field(default_factory=dict)
    failures: list[LeveretError] = field(default_factory=list)

    def uri(self, key: str) -> str:
        return f"s3://leveret/{key}"

    async def fetch(self, ref: str, path: Path, *, max_bytes: int) -> object:
        if self.failures:
            raise self.failures.pop(0)
        path.write_bytes(self.stored[ref][:max_bytes])
        return None

    async def put_file(self, ref: str, path: Path, content_type: str) -> FakeStored:
        assert content_type
        return await self.put_bytes(ref, path.read_bytes(), content_type)

    async def put_bytes(self, ref: str, body: bytes, content_type: str) -> FakeStored:
        assert content_type
        self.stored[ref] = body
        return FakeStored(size=len(body), sha256="0" * 64)


@dataclass(frozen=True)
class FakeStored:
    size: int
    sha256: str


@dataclass
class FakeEngine:
    """Runs `does`; a run waits for `go` (set by default), so that a test decides when it ends."""

    does: Callable[[EngineCall], None] = lambda _: None
    go: asyncio.Event = field(default_factory=asyncio.Event)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    running: str | None = None
    canceled: bool = False

    async def run(
        self,
        call: EngineCall,
        *,
        entering: AbstractAsyncContextManager[None],
        on_progress: Callable[[float], None],
        on_begin: Callable[[], None],
    ) -> EngineResult:
        async with entering:
            on_begin()
            return await self._run(call, on_progress)

    async def _run(self, call: EngineCall, on_progress: Callable[[float], None]) -> EngineResult:
        self.running = call.run_id
        self.started.set()
        try:
            await self.go.wait()
            if self.canceled:
                raise JobCanceled("canceled while it ran")
            on_progress(0.5)
            call.log.write(b"printed\n")
            self.does(call)
            output = call.scratch / "text.txt"
            call.scratch.mkdir(parents=True, exist_ok=True)
            output.write_text("done")
            return EngineResult({"text": OutputFile(output, "text/plain", {})}, {"infer_s": 0.25}, "")
        finally:
            self.running = None
            self.ended.set()

    async def cancel(self, run_id: str) -> bool:
        if self.running != run_id:
            return False
        self.canceled = True
        self.go.set()
        await self.ended.wait()
        return True
