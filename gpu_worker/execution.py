"""One attempt: fetch → run (turn, prepare, infer, finish) → store: verbs over one record, to an Outcome.

Nothing here commits or acknowledges. Whatever happens on the way, an Outcome comes out: this is one of the
three places that catch every exception, because a job that raised must still be told to have failed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from gpu_worker.artifacts import fetch_inputs, scratch_folder, store_outputs
from gpu_worker.engine.calls import EngineCall, EngineResult, Inline, OutputFile
from gpu_worker.engine.output import OutputTail
from gpu_worker.gate import Gate
from gpu_worker.hold import Hold, Stop
from gpu_worker.outcomes import Discard, Finish, Outcome, Release, outcome_of
from gpu_worker.ports import Engine, Objects
from gpu_worker.turn import Turn
from shared.catalog import Model
from shared.errors import JobCanceled
from shared.jobs import Claim, Ending, Evidence, State

log = structlog.get_logger()

Tell = Callable[[float], None]


@dataclass(slots=True)
class Execution:
    """The record the verbs work on.

    Attributes:
        hold: The job in hand.
        model: What to run.
        engine: Where.
        gate: Whom it must pass to get there.
        objects: Where its bytes are.
        scratch: The folder in which the attempt gets a folder of its own.
        tell_progress: Called with 0 … 1.
        begun: Called when an engine begins with it.
    """

    hold: Hold
    model: Model
    engine: Engine
    gate: Gate
    objects: Objects
    scratch: Path
    tell_progress: Tell
    begun: Callable[[], None] = lambda: None
    interrupting: asyncio.Task[None] | None = None
    timings: dict[str, float] = field(default_factory=dict)
    printed: OutputTail = field(default_factory=OutputTail)
    turn: Turn = field(default_factory=Turn)

    @property
    def claim(self) -> Claim:
        """The attempt."""
        return self.hold.claim

    async def run(self) -> Outcome:
        """Do all of it, or stop when asked to; never raises but for its own cancellation."""
        work = asyncio.create_task(self._work(), name=f"work {self.claim.id}")
        self.hold.when_asked(lambda: self._interrupt(work))
        try:
            await asyncio.wait({work})
            return self._outcome(work)
        finally:
            work.cancel()
            if self.interrupting is not None:
                self.interrupting.cancel()

    async def _work(self) -> dict[str, dict[str, Any]]:
        async with scratch_folder(self.scratch, self.claim) as folder:
            inputs = await self._fetch(folder)
            outputs = await self._infer(inputs, folder)
            return await self._store(outputs)

    async def _fetch(self, folder: Path) -> dict[str, Path | Inline]:
        with self._timed("fetch_s"):
            return await fetch_inputs(self.objects, self.claim, self.model, folder / "in")

    async def _infer(self, inputs: dict[str, Path | Inline], folder: Path) -> Mapping[str, OutputFile]:
        call = EngineCall(
            job_id=str(self.claim.id),
            attempt=str(self.claim.fence),
            model=self.model,
            inputs=inputs,
            params=dict(self.claim.params),
            scratch=folder / "out",
            timeout_s=self.claim.timeout_s,
            log=self.printed,
            priority=self.claim.priority,
            label=self.hold.trail.context,
        )
        result = await self._in_turn(call)
        self.hold.computed = True
        self.timings |= {**result.timings, "turn_s": self.turn.beside(result.timings)}
        self.timings["batch_size"] = result.batch_size
        return result.outputs

    async def _in_turn(self, call: EngineCall) -> EngineResult:
        entering = self.gate.entered(self.claim)
        self.turn.wait()
        try:
            with self.hold.trail.stage("run") as run:
                result = await self.engine.run(
                    call, entering=entering, on_progress=self._progressed, on_begin=self._begins
                )
                self.hold.trail.ran(run, result)
        finally:
            self.timings |= call.spent | {"turn_s": self.turn.end()}
        return result

    async def _store(self, outputs: Mapping[str, OutputFile]) -> dict[str, dict[str, Any]]:
        with self._timed("store_s"):
            return await store_outputs(self.objects, self.claim, outputs)

    def _begins(self) -> None:
        self.turn.begin()
        self.begun()

    def _progressed(self, progress: float) -> None:
        self.hold.progress = progress
        self.tell_progress(progress)

    def _interrupt(self, work: asyncio.Task[Any]) -> None:
        if self.interrupting is None and not work.done():
            self.interrupting = asyncio.create_task(self._end(work), name=f"stop {self.claim.id}")

    async def _end(self, work: asyncio.Task[Any]) -> None:
        """A graph is asked to stop first: cancelling the task would cost its engine process."""
        if not await self.engine.cancel(f"{self.claim.id}/{self.claim.fence}"):
            work.cancel()

    def _outcome(self, work: asyncio.Task[dict[str, dict[str, Any]]]) -> Outcome:
        error = self._cut_short() if work.cancelled() else work.exception()
        if error is None and self.hold.stop is not Stop.LOST:
            return Finish(Ending(state=State.SUCCEEDED, evidence=self._evidence(), outputs=work.result()))
        return self._stopped() or self._failed(error)

    def _cut_short(self) -> Exception:
        """What nobody asked for is a defect, of ours or of a driver's, and no end of the job."""
        return RuntimeError("canceled by nobody") if self.hold.stop is None else JobCanceled("stopped")

    def _stopped(self) -> Outcome | None:
        match self.hold.stop:
            case Stop.LOST:
                return Discard()
            case Stop.RELEASED:
                return Release(self._evidence())
            case Stop.CANCELED:
                return self._failed(JobCanceled("canceled on request"))
        return None

    def _failed(self, error: BaseException | None) -> Outcome:
        if not isinstance(error, Exception):
            raise error or RuntimeError("an attempt without an end")
        return outcome_of(error, self.claim, self._evidence(), retry_on=self.model.retry_on)

    def _evidence(self) -> Evidence:
        waited = (self.claim.started_at - self.claim.queued_at).total_seconds()
        return Evidence(
            log=self.printed.text(), timings={"queue_s": round(max(0.0, waited), 6), **self.timings}
        )

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            with self.hold.trail.stage(stage.removesuffix("_s")):
                yield
        finally:
            self.timings[stage] = round(time.monotonic() - began, 6)
