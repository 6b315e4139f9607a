"""The engine of a worker in the machine: no process, but one that ends in all the ways a process does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from gpu_worker.engine.calls import EngineCall, EngineResult, Inline, OutputFile
from shared.errors import (
    AlgorithmError,
    AlgorithmRetry,
    DeviceError,
    EngineDied,
    JobCanceled,
    JobTimedOut,
)
from shared.jobs import Claim
from tests.machine import limits
from tests.machine.audit import Audit
from tests.machine.wire import Process

MARKED_S = 2.0
"""Of two marks in a row over the slowest network there is here, the second is made within this."""


class Around(Protocol):
    """What an engine has to do with."""

    @property
    def audit(self) -> Audit: ...

    @property
    def die(self) -> Callable[[Process], None]: ...


class Engine:
    """Does what the job's text says: ``<seconds> <end>``.

    Args:
        process: The worker.
        around: What it has to do with.
        stages: So many jobs are at work in it at once; the others stand in line.
    """

    def __init__(self, process: Process, around: Around, *, stages: int) -> None:
        self._free = stages
        self._deaths = 0
        self._ended_under: set[str] = set()
        self._moved = asyncio.Event()
        self.claims: dict[str, Claim] = {}
        self._process = process
        self._around = around
        self._stops: dict[str, asyncio.Event] = {}
        self._ended: dict[str, asyncio.Event] = {}

    async def run(
        self,
        call: EngineCall,
        *,
        entering: AbstractAsyncContextManager[None],
        on_progress: Callable[[float], None],
        on_begin: Callable[[], None],
    ) -> EngineResult:
        async with entering, self._turn():
            on_begin()
            claim = self.claims[call.run_id]
            self._around.audit.entered.add((claim.id, claim.fence))
            stop, ended = asyncio.Event(), asyncio.Event()
            self._stops[call.run_id], self._ended[call.run_id] = stop, ended
            loop = asyncio.get_running_loop()
            look = loop.call_later(MARKED_S, self._must_be_marked, claim, loop.time())
            try:
                await self._compute(call, stop)
                on_progress(0.5)
                return self._result(call)
            finally:
                look.cancel()
                self._stops.pop(call.run_id, None)
                ended.set()

    def end(self) -> None:
        """Its process ends: all who are at work die with it, and those in line have met one more death."""
        self._deaths += 1
        self._ended_under |= set(self._stops)
        for stop in self._stops.values():
            stop.set()
        self._moved.set()

    async def cancel(self, run_id: str) -> bool:
        if run_id not in self._stops:
            return False
        ended = self._ended[run_id]
        self._stops[run_id].set()
        await ended.wait()
        return True

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Stand in line, and be at work then.

        Raises:
            EngineDied: Too many deaths of others came before its turn.
        """
        before = self._deaths
        while not self._free:
            self._moved.clear()
            await self._moved.wait()
            if self._deaths - before >= limits.SPARED:
                raise EngineDied("under others", inside=False)
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1
            self._moved.set()

    async def _compute(self, call: EngineCall, stop: asyncio.Event) -> None:
        said = call.inputs["text"]
        assert isinstance(said, Inline)
        seconds, end = said.value.split()
        stopped = await self._stopped_within(stop, min(float(seconds), call.timeout_s))
        if call.run_id in self._ended_under:
            raise EngineDied("killed")
        if stopped:
            raise JobCanceled("stopped")
        if float(seconds) > call.timeout_s:
            raise JobTimedOut("too long")
        await self._come_to(end)

    async def _come_to(self, end: str) -> None:
        match end:
            case "raises":
                raise AlgorithmError("no face", exception="ValueError")
            case "again":
                raise AlgorithmRetry("later", after_s=7.0)
            case "device":
                raise DeviceError("the GPU is away")
            case "crashes":
                self.end()
                raise EngineDied("segmentation fault")
            case "kills":
                self._around.die(self._process)
                await asyncio.Event().wait()

    def _must_be_marked(self, claim: Claim, began: float) -> None:
        """It has been at work for so long that only troubles of its worker's own could keep that unknown."""
        if self._process.untroubled_since(began):
            self._around.audit.at_work.add((claim.id, claim.fence))

    async def _stopped_within(self, stop: asyncio.Event, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await stop.wait()
        except TimeoutError:
            return False

    def _result(self, call: EngineCall) -> EngineResult:
        path = call.scratch / "text"
        path.write_bytes(b"done")
        return EngineResult({"text": OutputFile(path, "text/plain", {})}, {}, "")
