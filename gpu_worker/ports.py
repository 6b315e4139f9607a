"""What the worker needs from its surroundings, as it needs it. The adapters fit these by shape alone.

No adapter may be imported here or anywhere in the worker but in `wiring`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Protocol
from uuid import UUID

from gpu_worker.engine.calls import EngineCall, EngineResult
from shared.events import Event
from shared.jobs import Claim, Ending, Evidence, Job, State

WorkerState = Literal["starting", "ready", "draining", "gone"]


class Refusal(Protocol):
    """Why a claim was not given."""

    @property
    def state(self) -> State | None:
        """The row's, or None when there is no such row."""

    @property
    def model(self) -> str:
        """What the row wants to run."""

    @property
    def recent(self) -> bool:
        """It ended a moment ago."""


class Left(Protocol):
    """A job left `running`."""

    @property
    def state(self) -> State:
        """What it is now."""

    @property
    def event(self) -> Event:
        """To announce."""

    @property
    def machine_s(self) -> float:
        """The attempt's share of the machine's time."""

    @property
    def cost(self) -> Decimal | None:
        """Of this; None: the machine has no price."""


class Claims(Protocol):
    """What a message in hand does to its row. All raise Unavailable; those that write also OutcomeUnknown."""

    async def claim(self, job_id: UUID) -> Claim | Refusal:
        """Take a queued job."""

    async def recover(self, job_id: UUID) -> Claim | None:
        """The claim whose answer was lost."""

    async def doubt(self, job_id: UUID) -> None:
        """Shorten a running job's lease."""

    async def defer(self, job_id: UUID, error: Mapping[str, Any]) -> tuple[str, Event] | None:
        """Its model is not known here."""


class Attempts(Protocol):
    """Lets go of jobs. All raise Unavailable; those that write also OutcomeUnknown."""

    async def finish(self, claim: Claim, ending: Ending) -> Left | None:
        """Commit a terminal state."""

    async def retry(self, claim: Claim, evidence: Evidence, *, delay_s: float) -> Left | None:
        """Let it wait."""

    async def release(self, claim: Claim, evidence: Evidence) -> Left | None:
        """Queue it again, unspent."""

    async def left(self, claim: Claim) -> Left | None:
        """What an earlier call did whose answer was lost."""


class Marking(Protocol):
    """Tells who was at work; raises Unavailable and OutcomeUnknown."""

    async def enter(self, claim: Claim) -> None:
        """The job is at work in an engine."""


class LeaseStore(Protocol):
    """Keeps leases alive."""

    async def renew(self, held: Mapping[UUID, tuple[int, float]]) -> dict[UUID, bool]:
        """Extend by fence; answers whether each job's end was asked for."""


class Beats(Protocol):
    """Where a worker tells that it lives."""

    async def beat(
        self, state: WorkerState, *, busy: int, claims: int, report: Mapping[str, Any] | None
    ) -> bool:
        """Tell; answers whether it is asked to drain."""

    async def loaded(self, loads: Sequence[Mapping[str, Any]]) -> None:
        """Tell which models were loaded; the same one twice is one."""


class Reads(Protocol):
    """Rows for a repeated announcement."""

    async def job(self, tenant: str, job_id: UUID) -> Job | None:
        """The job."""

    async def last_event(self, job_id: UUID) -> tuple[str, Event] | None:
        """The newest event, and whose job it is."""


class Bus(Protocol):
    """Pushes events."""

    async def announce(self, tenant: str, event: Event, result: bytes | None = None) -> None:
        """Push, and keep the result; raises Unavailable."""


class DeadLetters(Protocol):
    """Where messages go that nobody can act on."""

    async def dead_letter(self, body: bytes, reason: str) -> None:
        """Keep it; raises Unavailable."""


class Delivery(Protocol):
    """A message in hand."""

    @property
    def body(self) -> bytes:
        """What was published."""


class Stored(Protocol):
    """An object that was written."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def sha256(self) -> str:
        """Hexadecimal digest."""


class Objects(Protocol):
    """The object store."""

    def uri(self, key: str) -> str:
        """The address of a key of Leveret's own bucket."""

    async def fetch(self, ref: str, path: Path, *, max_bytes: int) -> object:
        """Read into a file; raises InputUnavailable, BadInput, StoreError."""

    async def put_file(self, ref: str, path: Path, content_type: str) -> Stored:
        """Write a file; raises StoreError."""

    async def put_bytes(self, ref: str, body: bytes, content_type: str) -> Stored:
        """Write a few bytes; raises StoreError."""


class Source(Protocol):
    """Where inputs are read from."""

    async def fetch(self, ref: str, path: Path, *, max_bytes: int) -> object:
        """Read into a file; raises InputUnavailable, InputDelayed, BadInput, StoreError."""


class Engine(Protocol):
    """Runs algorithms in a process of their own."""

    async def run(
        self,
        call: EngineCall,
        *,
        entering: AbstractAsyncContextManager[None],
        on_progress: Callable[[float], None],
        on_begin: Callable[[], None],
    ) -> EngineResult:
        """Run one job, inside `entering`; raises what shared.errors draws."""

    async def cancel(self, run_id: str) -> bool:
        """End a run, and return once it has ended; False when it is not there."""
