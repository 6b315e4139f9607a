"""Brings models into all of their engines before the first job, in a time that is bounded.

A load that runs out of time costs its process, and with it all that was loaded there before: that is loaded
once more at the end. After a few of these the other models are left to their first jobs: the worker has to
become ready.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

import structlog

from gpu_worker.engine.host import EngineHost
from shared.catalog import Model
from shared.errors import DeviceError, DeviceMissing, LeveretError, LoadOverdue

log = structlog.get_logger()

_OVERDUE = 2
"""Models that ran out of time, after which no further one is tried."""


class Preload:
    """One pass over models.

    Args:
        hosts_of: The engines that a model belongs into.
        on_missing: Told when a device turns out to be gone.
    """

    def __init__(
        self, hosts_of: Callable[[Model], Sequence[EngineHost]], on_missing: Callable[[DeviceMissing], None]
    ) -> None:
        self._hosts_of = hosts_of
        self._on_missing = on_missing
        self._overdue = 0
        self._loaded: list[tuple[EngineHost, int | None, Model]] = []

    async def run(self, models: Iterable[Model]) -> list[DeviceError]:
        """Load them, one after the other. One that cannot be loaded is told, and fails its own jobs only.

        Returns:
            One error for each model that could not be loaded for want of a device.
        """
        lacking = []
        for model in models:
            if self._overdue >= _OVERDUE:
                log.warning("model.left_to_its_jobs", model=model.ref)
                continue
            errors = await self._everywhere(model)
            self._overdue += any(isinstance(error, LoadOverdue) for error in errors)
            lacking += [error for error in errors if isinstance(error, DeviceError)][:1]
        await self._restore()
        return lacking

    async def _everywhere(self, model: Model) -> list[LeveretError]:
        hosts = self._hosts_of(model)
        errors = await asyncio.gather(*(self._load(host, model) for host in hosts))
        self._loaded += [(host, host.pid, model) for host in hosts if host.holds(model)]
        return [error for error in errors if error is not None]

    async def _restore(self) -> None:
        """Load again what went with its process; not what left to make room."""
        for host, pid, model in self._loaded:
            if host.pid != pid and not host.holds(model):
                await self._load(host, model)

    async def _load(self, host: EngineHost, model: Model) -> LeveretError | None:
        try:
            report = await host.load(model)
        except LeveretError as error:
            log.warning("model.unloadable", model=model.ref, code=error.code, reason=str(error))
            if isinstance(error, DeviceMissing):
                self._on_missing(error)
            return error
        took, nodes = round(report.load_s, 3), report.nodes or None
        log.info("model.loaded", model=model.ref, gpu=host.device.gpu, load_s=took, nodes=nodes)
        return None
