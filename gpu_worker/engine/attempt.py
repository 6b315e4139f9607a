"""A job's run in an engine as the worker sees it, and the ways to wait for a process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from gpu_worker.engine.ask import Ask
from gpu_worker.engine.calls import EngineCall, LoadReport, failure_of, spent_of
from gpu_worker.engine.process import EngineProcess
from gpu_worker.engine.protocol import Frame
from shared.catalog import Model
from shared.errors import EngineDied, JobCanceled


@dataclass(frozen=True, slots=True)
class Limits:
    """What an engine may take.

    Attributes:
        load_s: For a model's import, `load` and `warm_up` together.
        cancel_grace_s: For a graph to stop by itself. Python code has none, unless the model's option of this
            name gives it some.
        jobs: After which a process is replaced; 0 for never.
        memory_mb: Resident, above which a process is replaced; 0 for half of what its models leave of
            `kill_mb`, or never.
        kill_mb: Resident, above which it is killed in the midst of its jobs; 0 for never.
        models_mb: What loaded models may hold together; 0 for no limit.
    """

    start_s: float = 60
    load_s: float = 180
    cancel_grace_s: float = 5
    jobs: int = 0
    memory_mb: int = 0
    kill_mb: int = 0
    models_mb: int = 0

    def spent(self, jobs: int, held_mb: Callable[[], float], loaded_mb: float) -> bool:
        """Whether a process has had its share: what it leaked must not be charged to the next job.

        Args:
            jobs: That it has had.
            held_mb: Tells what it holds.
            loaded_mb: What its models took of that, by right.
        """
        if self.jobs and jobs >= self.jobs:
            return True
        most_mb = self.memory_mb or (self.kill_mb + min(loaded_mb, self.kill_mb)) / 2
        return bool(self.memory_mb or self.kill_mb) and held_mb() > most_mb


@dataclass(slots=True)
class Attempt:
    """A call on its way.

    Attributes:
        task: Whoever awaits `run`.
        canceled: Its end was asked for.
        ask: The request, while the process has it.
        ended: `run` has returned.
    """

    call: EngineCall
    on_progress: Callable[[float], None]
    on_begin: Callable[[], None]
    task: asyncio.Task[object] | None
    canceled: bool = False
    ask: Ask | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

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


class LeftLoads:
    """Loads whose job was taken away: to end them would cost the others in their process what they did.

    Args:
        loaded: Told the report when such a load has ended well.
    """

    def __init__(self, loaded: Callable[[Model, LoadReport], None]) -> None:
        self._loaded = loaded
        self._loads: set[asyncio.Task[LoadReport]] = set()

    async def see_through(
        self, model: Model, load: Coroutine[Any, Any, LoadReport], others: Callable[[], bool]
    ) -> LoadReport:
        """Await a load; with its caller taken away it is ended, or goes on where there are others."""
        task = asyncio.create_task(load, name=f"load {model.ref}")
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if others() or task.done():
                self._loads.add(task)
                task.add_done_callback(partial(self._over, model))
            else:
                task.cancel()
                await asyncio.wait({task})
            raise

    async def ended(self) -> None:
        """Wait until none is left."""
        while self._loads:
            await asyncio.wait(self._loads)

    def end(self) -> None:
        """End them, and the process with one that has begun."""
        for load in self._loads:
            load.cancel()

    def _over(self, model: Model, load: asyncio.Task[LoadReport]) -> None:
        self._loads.discard(load)
        if not load.cancelled() and load.exception() is None:  # one that failed is told to its next job
            self._loaded(model, load.result())


def done_of(reply: Frame, call: EngineCall | None = None) -> Frame:
    """A `done` frame; what a `failed` one tells is raised, and what the call spent until then noted."""
    if reply["op"] == "failed":
        if call is not None:
            call.spent.update(spent_of(reply))
        raise failure_of(reply)
    return reply


async def bounded(process: EngineProcess, ask: Ask) -> Frame:
    """The answer; left in any other way, the process is killed, unless the request only stood in line.

    Raises:
        TimeoutError: The process was killed because this request's time was up.
    """
    try:
        return await process.request(ask)
    except EngineDied as error:
        if ask.overdue:
            raise TimeoutError from error
        raise
    finally:
        if ask.begun and not ask.answered:
            process.kill("was killed with a job that was taken away", over=ask)


async def came_up(process: EngineProcess, limit_s: float) -> None:
    """Wait until a process is ready; left in any other way, it is killed.

    Raises:
        EngineDied: It ended, or did not come up in time.
    """
    up = False
    try:
        async with asyncio.timeout(limit_s):
            await process.ready()
        up = True
    except TimeoutError as error:
        raise EngineDied(f"the engine did not come up within {limit_s:g} s") from error
    finally:
        if not up:
            process.kill()


async def left(process: EngineProcess, deadline_s: float) -> None:
    """Let a process leave by itself within the deadline, then kill it; returns when it is gone."""
    if process.alive:
        process.send({"op": "stop"})
    await within(deadline_s, process.ended())
    process.kill("was stopped with its worker")
    await process.ended()


async def within(seconds: float, waiting: Awaitable[object]) -> None:
    """Wait for something, but not longer than this."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await waiting
