"""The engine processes of this worker: one for each interpreter that its models name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import structlog

from gpu_worker.engine.attempt import Limits
from gpu_worker.engine.calls import EngineCall, EngineResult
from gpu_worker.engine.host import EngineHost
from shared.catalog import Model
from shared.errors import DeviceError, LeveretError

log = structlog.get_logger()


class Engines:
    """Chooses the process for a call; a process starts when it is first needed.

    Args:
        device: ``cpu`` or ``cuda``.
        scratch: An absolute folder for the processes' private files.
        limits: What each of them may take.
    """

    def __init__(self, *, device: str, scratch: Path, limits: Limits) -> None:
        self._device = device
        self._scratch = scratch
        self._limits = limits
        self._hosts: dict[str | None, EngineHost] = {}

    async def run(
        self,
        call: EngineCall,
        *,
        entering: AbstractAsyncContextManager[None],
        on_progress: Callable[[float], None],
        on_begin: Callable[[], None],
    ) -> EngineResult:
        """Run one job where its model belongs. Raises what `EngineHost.run` does.

        Args:
            call: The job.
            entering: Entered before it is sent to the process, left when it is done.
            on_progress: Called with 0 … 1.
            on_begin: Called when the process begins with it.
        """
        async with entering:
            return await self._host(call.model).run(call, on_progress=on_progress, on_begin=on_begin)

    async def cancel(self, run_id: str) -> bool:
        """End a job's run, wherever it is; False when it is nowhere."""
        return any([await host.cancel(run_id) for host in list(self._hosts.values())])

    async def preload(self, models: Iterable[Model]) -> None:
        """Load and warm models. One that cannot be loaded is told, and fails its own jobs only.

        Raises:
            DeviceError: The device is missing: this worker would fail every job.
        """
        for model in models:
            try:
                report = await self._host(model).load(model)
            except DeviceError:
                raise
            except LeveretError as error:
                log.warning("model.unloadable", model=model.ref, code=error.code, reason=str(error))
            else:
                took = round(report.load_s, 3)
                log.info("model.loaded", model=model.ref, load_s=took, nodes=report.nodes or None)

    async def stop(self) -> None:
        """End the processes."""
        await asyncio.gather(*(host.stop() for host in self._hosts.values()))

    def _host(self, model: Model) -> EngineHost:
        if model.interpreter not in self._hosts:
            self._hosts[model.interpreter] = EngineHost(
                interpreter=model.interpreter,
                device=self._device,
                scratch=self._scratch,
                limits=self._limits,
            )
        return self._hosts[model.interpreter]
