"""The worker's engine: one process for one interpreter and device, kept alive, loaded and bounded in time.

    run:     one at a time → (start) → (load) → run, under the call's time limit
    cancel:  a graph is told to stop and has a grace; Python code is killed at once
    death:   the call in hand fails with EngineDied; the next one starts a new process and loads again

A call that is left in any other way than by an answer (timeout, cancellation of `run`) kills the process, so
that nobody ever shares an engine with a run whose state is unknown.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gpu_worker.engine.calls import (
    EngineCall,
    EngineResult,
    LoadReport,
    failure_of,
    load_frame,
    load_report_of,
    result_of,
    run_frame,
)
from gpu_worker.engine.output import OutputTail
from gpu_worker.engine.process import EngineProcess
from shared.catalog import CatalogError
from shared.errors import DeviceError, EngineDied, JobCanceled, JobTimedOut, LeveretError, ModelUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gpu_worker.engine.protocol import Frame
    from shared.catalog import Model


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds an engine may take.

    Attributes:
        cancel_grace_s: For a graph to stop by itself. Python code has none, unless the model's option of this
            name gives it some.
    """

    start_s: float = 60
    load_s: float = 600
    cancel_grace_s: float = 5


@dataclass(slots=True)
class _Attempt:
    call: EngineCall
    task: asyncio.Task[object] | None
    canceled: bool = False
    number: int | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def sent(self, number: int) -> None:
        """Its request has left under this number."""
        self.number = number

    def leave(self) -> None:
        """Stop waiting for its turn: the task's cancellation is turned into JobCanceled by `run`."""
        if self.task is not None:
            self.task.cancel()

    def is_own(self, error: BaseException) -> bool:
        """Whether this error follows from the job's cancellation, and not from that of `run`'s caller."""
        if not isinstance(error, asyncio.CancelledError) or self.task is None:
            return True
        return self.task.uncancel() == 0

    def check(self) -> None:
        """Leave here if it was canceled."""
        if self.canceled:
            raise JobCanceled("canceled before it ran")


class EngineHost:
    """One engine: `start`, `load`, `run` (one at a time), `cancel`, `stop`."""

    def __init__(
        self, *, interpreter: str | None, device: str, scratch: Path, limits: Limits | None = None
    ) -> None:
        self.interpreter = interpreter
        self.device = device
        self.limits = limits or Limits()
        scratch.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix="engine-", dir=scratch))
        self._turn = asyncio.Lock()
        self._process: EngineProcess | None = None
        self._loaded: dict[str, LoadReport] = {}
        self._attempts: dict[str, _Attempt] = {}
        self._running: _Attempt | None = None
        self.starts = 0

    @property
    def alive(self) -> bool:
        """Whether the process is up."""
        return self._process is not None and self._process.alive

    @property
    def pid(self) -> int | None:
        """The process's id while it is up."""
        return self._process.pid if self._process is not None and self._process.alive else None

    async def start(self) -> None:
        """Start the process, if it is not up.

        Raises:
            ModelUnavailable: There is no such interpreter.
            EngineDied: It did not come up.
        """
        async with self._turn:
            await self._up()

    async def load(self, model: Model) -> LoadReport:
        """Load a model and warm it up, if it is not loaded yet; checks its pinned digests first.

        Raises:
            ModelUnavailable: A file is not what the catalog's index pins.
            DeviceError: The GPU that was asked for is missing or failed.
            AlgorithmError: The model's own code or graph can't be loaded.
            EngineDied: It took the process down.
        """
        async with self._turn:
            return (await self._ready_with(model))[1]

    async def run(
        self, call: EngineCall, *, on_progress: Callable[[float], None] = lambda _: None
    ) -> EngineResult:
        """Run one job; waits for its turn. What the job prints is in `call.log` from its first line on.

        Raises:
            BadInput, AlgorithmError, AlgorithmRetry, InvalidOutput: By what the algorithm said.
            JobTimedOut: It ran longer than `call.timeout_s`.
            JobCanceled: `cancel` was called for it.
            EngineDied: The process ended under it.
            ModelUnavailable, DeviceError: As for `load`.
        """
        attempt = self._attempts[call.run_id] = _Attempt(call, asyncio.current_task())
        try:
            async with self._turn:
                self._running = attempt
                attempt.check()
                return await self._run(attempt, on_progress)
        except (LeveretError, asyncio.CancelledError) as error:
            if attempt.canceled and attempt.is_own(error):
                raise JobCanceled("canceled while it ran") from error
            raise
        finally:
            self._running = None if self._running is attempt else self._running
            del self._attempts[call.run_id]
            attempt.ended.set()

    async def cancel(self, run_id: str) -> bool:
        """End a job's run, and return once it has ended; False when it is not here."""
        attempt = self._attempts.get(run_id)
        if attempt is None:
            return False
        attempt.canceled = True
        if attempt is self._running:
            await self._interrupt(attempt)
        else:
            attempt.leave()
        await attempt.ended.wait()
        return True

    async def stop(self, deadline_s: float = 5) -> None:
        """Let the process leave by itself within the deadline, then kill it; removes its private files."""
        process, self._process = self._process, None
        if process is not None:
            if process.alive:
                process.send({"op": "stop"})
            await _within(deadline_s, process.ended())
            process.kill("was stopped with its worker")
            await process.ended()
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    async def _run(self, attempt: _Attempt, on_progress: Callable[[float], None]) -> EngineResult:
        call = attempt.call
        fresh = call.model.ref not in self._loaded or not self.alive
        process, report = await self._ready_with(call.model, attempt)
        attempt.check()
        request = partial(process.request, run_frame(call), on_sent=attempt.sent, on_progress=on_progress)
        try:
            reply = await _bounded(process, request, call.timeout_s)
        except TimeoutError as error:
            raise JobTimedOut(f"ran longer than {call.timeout_s:g} s, so its process was killed") from error
        finally:
            process.output.drain()
        try:
            return result_of(_done(reply), call, report if fresh else None)
        except (DeviceError, EngineDied):
            process.kill()  # a failed GPU context fails every later job, and forged answers are worse
            raise

    async def _ready_with(
        self, model: Model, attempt: _Attempt | None = None
    ) -> tuple[EngineProcess, LoadReport]:
        process = await self._up(attempt)
        process.output.capture(OutputTail() if attempt is None else attempt.call.log)
        if attempt is not None:
            attempt.check()
        if model.ref not in self._loaded:
            self._loaded[model.ref] = await self._load(process, model)
        return process, self._loaded[model.ref]

    async def _load(self, process: EngineProcess, model: Model) -> LoadReport:
        try:
            await asyncio.to_thread(model.verify)
            reply = await _bounded(process, partial(process.request, load_frame(model)), self.limits.load_s)
        except CatalogError as error:
            raise ModelUnavailable(str(error)) from error
        except TimeoutError as error:
            raise ModelUnavailable(f"{model.ref} did not load within {self.limits.load_s:g} s") from error
        finally:
            process.output.drain()
        return load_report_of(_done(reply))

    async def _up(self, attempt: _Attempt | None = None) -> EngineProcess:
        if self._process is not None and self._process.alive:
            return self._process
        if self._process is not None:
            await self._process.ended()  # its memory on the device is free again only now
        self._loaded.clear()
        self._process = process = await EngineProcess.start(self.interpreter, self.device, self._folder)
        self.starts += 1
        if attempt is not None:
            process.output.capture(attempt.call.log)
        try:
            await _bounded(process, process.ready, self.limits.start_s)
        except TimeoutError as error:
            raise EngineDied(f"the engine did not come up within {self.limits.start_s:g} s") from error
        return process

    async def _interrupt(self, attempt: _Attempt) -> None:
        process, grace_s = self._process, self._grace_s(attempt.call.model)
        if process is None:
            return
        if grace_s > 0 and attempt.number is not None and process.alive:
            process.send({"op": "cancel", "id": attempt.number})
            await _within(grace_s, attempt.ended.wait())
        if not attempt.ended.is_set():
            process.kill()

    def _grace_s(self, model: Model) -> float:
        default = self.limits.cancel_grace_s if model.backend == "onnx" else 0
        return float(model.options.get("cancel_grace_s", default))


def _done(reply: Frame) -> Frame:
    if reply["op"] == "failed":
        raise failure_of(reply)
    return reply


async def _bounded(process: EngineProcess, ask: Callable[[], Awaitable[Frame]], limit_s: float) -> Frame:
    """An answer within the limit; left in any other way, the process is killed."""
    answered = False
    try:
        async with asyncio.timeout(limit_s):
            reply = await ask()
        answered = True
        return reply
    finally:
        if not answered:
            process.kill()


async def _within(seconds: float, waiting: Awaitable[object]) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await waiting
