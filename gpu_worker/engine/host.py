"""The worker's engine: one process for one interpreter and device, kept alive, loaded and bounded in time.

    run:     (start) → (load) → run; as many at once as there are jobs, the process orders them by priority
    cancel:  a graph is told to stop and has a grace; Python code is killed at once, but a load that others
             would lose their work with goes on without the job that wanted it
    death:   who was at work in it fails with EngineDied; who stood in line runs in the next process
    budget:  models that were used longest ago leave for the one that comes, never one in use
    recycle: after so many jobs, or above so much memory, a process ends when it is empty

A call that is left in any other way than by an answer (timeout, cancellation of `run`) kills the process, so
that nobody ever shares an engine with a run whose state is unknown.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from gpu_worker.engine.ask import Ask
from gpu_worker.engine.attempt import Attempt, LeftLoads, Limits, bounded, came_up, done_of, left, within
from gpu_worker.engine.calls import (
    EngineCall,
    EngineResult,
    LoadReport,
    load_frame,
    load_report_of,
    result_of,
    run_frame,
)
from gpu_worker.engine.launch import Device
from gpu_worker.engine.loaded import Loaded
from gpu_worker.engine.meter import Meter
from gpu_worker.engine.output import OutputTail
from gpu_worker.engine.overdue import Overdue
from gpu_worker.engine.process import EngineProcess
from shared.catalog import CatalogError
from shared.errors import DeviceError, EngineDied, JobCanceled, JobTimedOut, LeveretError, ModelUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpu_worker.engine.protocol import Frame
    from shared.catalog import Model

_SPARED = 10
"""How often a job may stand in line of a process that ends, before its worker gives it back."""


class EngineHost:
    """One engine: `start`, `load`, `run` (several at once), `cancel`, `stop`."""

    def __init__(
        self,
        *,
        interpreter: str | None,
        device: Device,
        scratch: Path,
        limits: Limits | None = None,
        overdue: Overdue | None = None,
        on_load: Callable[[Model, LoadReport], None] = lambda *_: None,
    ) -> None:
        self.interpreter = interpreter
        self.device = device
        self.limits = limits or Limits()
        self._overdue = overdue or Overdue()
        self._on_load = on_load
        scratch.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix="engine-", dir=scratch))
        self._turn = asyncio.Lock()
        self._process: EngineProcess | None = None
        self._loaded = Loaded(self.limits.models_mb)
        self._attempts: dict[str, Attempt] = {}
        self._left_loads = LeftLoads(self._took_in)
        self._inside = 0
        self._empty = asyncio.Event()
        self._jobs = 0
        self._open = True
        """False once the process has had its share: nobody enters it any more, it ends when empty."""
        self.starts = 0
        self.meter = Meter()
        """Of the device stage of all its processes."""

    @property
    def alive(self) -> bool:
        """Whether the process is up."""
        return self._process is not None and self._process.alive

    @property
    def pid(self) -> int | None:
        """The process's id while it is up."""
        return self._process.pid if self._process is not None and self._process.alive else None

    @property
    def memory_mb(self) -> float:
        """Resident memory of the process, in MB (10^6 bytes); 0 while it is not up."""
        return self._process.memory_mb() if self._process is not None and self._process.alive else 0.0

    @property
    def busy(self) -> int:
        """Jobs in its hands, those that wait for a load among them."""
        return len(self._attempts)

    @property
    def loaded(self) -> dict[str, LoadReport]:
        """What the process holds by `name@version`, and how it was loaded; nothing while it is not up."""
        return self._loaded.reports() if self.alive else {}

    def holds(self, model: Model) -> bool:
        """Whether the model is loaded, in a process that takes jobs."""
        return self.alive and self._open and model.ref in self._loaded

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
            LoadOverdue: It did not load in time, now or lately.
            DeviceError: The GPU that was asked for is missing or failed.
            AlgorithmError: The model's own code or graph can't be loaded.
            EngineDied: It took the process down.
        """
        return (await self._ready_with(model, OutputTail()))[1]

    async def run(
        self,
        call: EngineCall,
        *,
        on_progress: Callable[[float], None] = lambda _: None,
        on_begin: Callable[[], None] = lambda: None,
    ) -> EngineResult:
        """Run one job. What the job prints is in `call.log` from its first line on.

        Args:
            call: The job.
            on_progress: Called with 0 … 1.
            on_begin: Called when the process begins with it.

        Raises:
            BadInput, AlgorithmError, AlgorithmRetry, InvalidOutput: By what the algorithm said.
            JobTimedOut: It was at work for longer than `call.timeout_s`.
            JobCanceled: `cancel` was called for it.
            EngineDied: The process ended under it.
            ModelUnavailable, DeviceError: As for `load`.
        """
        attempt = Attempt(call, on_progress, on_begin, asyncio.current_task())
        self._attempts[call.run_id] = attempt
        try:
            return await self._until_charged(attempt)
        except (LeveretError, asyncio.CancelledError) as error:
            if attempt.canceled and attempt.is_own(error):
                raise JobCanceled("canceled while it ran") from error
            raise
        finally:
            del self._attempts[call.run_id]
            if attempt.canceled and not self._attempts:
                self._left_loads.end()  # nobody is left for whose sake they went on
            attempt.ended.set()

    async def cancel(self, run_id: str) -> bool:
        """End a job's run, and return once it has ended; False when it is not here."""
        attempt = self._attempts.get(run_id)
        if attempt is None:
            return False
        attempt.canceled = True
        if attempt.ask is not None:
            await self._interrupt(attempt, attempt.ask)
        else:
            attempt.leave()
        await attempt.ended.wait()
        return True

    async def stop(self, deadline_s: float = 5) -> None:
        """Let the process leave by itself within the deadline, then kill it; removes its private files."""
        self._left_loads.end()
        process, self._process = self._process, None
        if process is not None:
            await left(process, deadline_s)
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    async def _until_charged(self, attempt: Attempt) -> EngineResult:
        """Run, and again where the process ended under somebody else."""
        for _ in range(_SPARED):
            try:
                return await self._run(attempt)
            except EngineDied as error:
                if error.inside:
                    raise
        raise EngineDied(f"the engine process ended {_SPARED} times under other jobs", inside=False)

    async def _run(self, attempt: Attempt) -> EngineResult:
        call = attempt.call
        fresh = not self.holds(call.model)
        process, report = await self._ready_with(call.model, call.log, attempt)
        self._inside += 1
        self._loaded.use(call.model.ref)
        try:
            reply = await self._asked(process, attempt)
            together = attempt.ask.together if attempt.ask else ()
            return result_of(done_of(reply, call), call, report if fresh else None, together)
        except (DeviceError, EngineDied):
            # a failed GPU context fails every later job, and forged answers are worse
            process.kill("was ended with its device, or for what it said", over=attempt.ask)
            raise
        finally:
            attempt.ask = None
            self._inside -= 1
            self._loaded.leave(call.model.ref)
            self._jobs += 1
            self._recycle(process)

    async def _asked(self, process: EngineProcess, attempt: Attempt) -> Frame:
        attempt.check()
        call = attempt.call
        attempt.ask = ask = Ask(
            run_frame(call), call.timeout_s, call.log, attempt.on_progress, attempt.on_begin, call.label
        )
        try:
            return await bounded(process, ask)
        except TimeoutError as error:
            raise JobTimedOut(f"ran longer than {call.timeout_s:g} s, so its process was killed") from error

    async def _ready_with(
        self, model: Model, log: OutputTail, attempt: Attempt | None = None
    ) -> tuple[EngineProcess, LoadReport]:
        if self._process is not None and self.holds(model):
            return self._process, self._loaded[model.ref]
        self._overdue.check(model.ref)
        on_begin = attempt.on_begin if attempt else None
        async with self._turn:
            await self._left_loads.ended()
            while True:
                process = await self._up(log)
                if attempt is not None:
                    attempt.check()
                if model.ref in self._loaded:
                    return process, self._loaded[model.ref]
                self._overdue.check(model.ref)
                if await self._made_room(process, model):
                    load = self._load(process, model, log, on_begin)
                    others = (lambda: self.busy > 1) if attempt else (lambda: False)
                    self._took_in(model, await self._left_loads.see_through(model, load, others))
                    await self._made_room(process, model)

    def _took_in(self, model: Model, report: LoadReport) -> None:
        self._overdue.drop(model.ref)
        self._loaded.add(model.ref, report)
        self._on_load(model, report)

    async def _made_room(self, process: EngineProcess, model: Model) -> bool:
        """False where a model did not leave: it went with its process."""
        weights = model.path.stat().st_size / 1e6 if model.path else 0.0
        for ref in self._loaded.surplus(model.ref, weights):
            self._loaded.drop(ref)
            try:
                await bounded(process, Ask({"op": "unload", "model": ref}, self.limits.load_s))
            except (TimeoutError, EngineDied):
                return False
        return True

    async def _load(
        self, process: EngineProcess, model: Model, log: OutputTail, on_begin: Callable[[], None] | None
    ) -> LoadReport:
        ask = Ask(load_frame(model), self.limits.load_s, log, on_begin=on_begin)
        try:
            await asyncio.to_thread(model.verify)
            reply = await bounded(process, ask)
        except CatalogError as error:
            raise ModelUnavailable(str(error)) from error
        except TimeoutError as error:
            raise self._overdue.add(model.ref, self.limits.load_s) from error
        return load_report_of(done_of(reply))

    async def _up(self, log: OutputTail | None = None) -> EngineProcess:
        if self._process is not None and self._process.alive and not self._open:
            await self._emptied(self._process)
        if self._process is not None and self._process.alive:
            return self._process
        if self._process is not None:
            await self._process.ended()  # its memory on the device is free again only now
        self._loaded.clear()
        self._jobs, self._open = 0, True
        self._process = process = await EngineProcess.start(self.interpreter, self.device, self._folder)
        self.starts += 1
        process.most_mb, process.meter = self.limits.kill_mb, self.meter
        process.output.early = log or process.output.early
        await came_up(process, self.limits.start_s)
        return process

    def _recycle(self, process: EngineProcess) -> None:
        if process is self._process and process.alive:
            held, loaded = process.memory_mb, self._loaded.held_mb()
            self._open = self._open and not self.limits.spent(self._jobs, held, loaded)
        if not self._inside:
            self._empty.set()

    async def _emptied(self, process: EngineProcess) -> None:
        while self._inside and process.alive:
            self._empty.clear()
            await self._empty.wait()
        await left(process, 5)

    async def _interrupt(self, attempt: Attempt, ask: Ask) -> None:
        process, grace_s = self._process, self._grace_s(attempt.call.model)
        if process is None:
            return
        process.cancel(ask)
        if grace_s > 0 or (ask.begun and not ask.inside):  # who stands between two stages is refused at once
            await within(grace_s or self.limits.cancel_grace_s, attempt.ended.wait())
        if ask.answered or attempt.ended.is_set():
            return
        if ask.begun:
            process.kill("was killed: a job in it was canceled", over=ask)
        else:
            attempt.leave()  # it stood in line: nobody else is disturbed

    def _grace_s(self, model: Model) -> float:
        default = self.limits.cancel_grace_s if model.backend == "onnx" else 0
        return default if model.cancel_grace_s is None else model.cancel_grace_s
