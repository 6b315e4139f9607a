"""The engine processes of this worker: for each interpreter that its models name, one for each device.

A job goes to the engine that has least to do, of those to one that holds its model.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

from gpu_worker.engine.attempt import Limits
from gpu_worker.engine.calls import EngineCall, EngineResult, LoadReport
from gpu_worker.engine.host import EngineHost
from gpu_worker.engine.launch import Device
from gpu_worker.engine.overdue import Overdue
from gpu_worker.preload import Preload
from shared.catalog import Model
from shared.errors import DeviceError, DeviceMissing, Misconfigured

_BEYOND = 1e9
UNTOLD = 100
"""Loads kept until somebody was told of them, the newest."""


@dataclass(frozen=True, slots=True)
class Load:
    """A model was loaded by one engine.

    Attributes:
        at: On the machine's monotonic clock.
        load_s: None where the engine's word for it is no number of seconds.
        memory_mb: What its process grew by, 10^6 bytes; None: not known.
    """

    id: UUID
    name: str
    version: str
    at: float
    load_s: float | None
    memory_mb: float | None


@dataclass(frozen=True, slots=True)
class Held:
    """A model that engines hold now.

    Attributes:
        engines: So many of them.
        load_s: Of the slowest of its loads; None: not known.
        memory_mb: In all of them together, 10^6 bytes; None: not known.
    """

    name: str
    version: str
    engines: int
    load_s: float | None
    memory_mb: float | None


@dataclass(frozen=True, slots=True)
class Use:
    """What the engines on one device have taken of it, those of all interpreters together.

    Attributes:
        device: The device.
        busy_s: Their device stages were at work.
        resident_mb: Memory of their processes, 10^6 bytes.
        starts: Processes started.
    """

    device: Device
    busy_s: float
    resident_mb: float
    starts: int


class Engines:
    """Chooses the process for a call; a process starts when it is first needed.

    Args:
        devices: What they compute on: as many processes for each interpreter.
        scratch: An absolute folder for the processes' private files.
        limits: What each of them may take.
        on_missing: Told when a device turns out to be gone.
    """

    def __init__(
        self,
        *,
        devices: Sequence[Device],
        scratch: Path,
        limits: Limits,
        on_missing: Callable[[DeviceMissing], None],
    ) -> None:
        self._devices = devices
        self._scratch = scratch
        self._limits = limits
        self._overdue = Overdue()
        self._on_missing = on_missing
        self._hosts: dict[str | None, tuple[EngineHost, ...]] = {}
        self._untold: deque[Load] = deque(maxlen=UNTOLD)

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
            try:
                return await self._host(call.model).run(call, on_progress=on_progress, on_begin=on_begin)
            except DeviceMissing as error:
                self._on_missing(error)
                raise

    async def cancel(self, run_id: str) -> bool:
        """End a job's run, wherever it is; False when it is nowhere."""
        return any([await host.cancel(run_id) for host in self._all()])

    async def preload(self, models: Iterable[Model]) -> list[DeviceError]:
        """Load and warm models. One that cannot be loaded is told, and fails its own jobs only.

        Returns:
            One error for each model that could not be loaded for want of a device.
        """
        return await Preload(self._hosts_of, self._on_missing).run(models)

    async def stop(self) -> None:
        """End the processes."""
        await asyncio.gather(*(host.stop() for host in self._all()))

    def uses(self) -> list[Use]:
        """By device, in the order of their numbers."""
        columns = list(self._hosts.values())
        return [
            _use(device, [hosts[number] for hosts in columns]) for number, device in enumerate(self._devices)
        ]

    def held(self) -> list[Held]:
        """What they hold now, by name."""
        loaded = [host.loaded for host in self._all()]
        refs = sorted({ref for reports in loaded for ref in reports})
        return [_held(ref, [reports[ref] for reports in loaded if ref in reports]) for ref in refs]

    def loads(self) -> list[Load]:
        """What was loaded since `told`, oldest first."""
        return list(self._untold)

    def told(self, loads: Sequence[Load]) -> None:
        """Forget these."""
        ids = {load.id for load in loads}
        self._untold = deque((load for load in self._untold if load.id not in ids), maxlen=UNTOLD)

    def _note(self, model: Model, report: LoadReport) -> None:
        took, memory = _measured(report.load_s), _measured(report.memory_mb) or None
        self._untold.append(Load(uuid4(), model.name, model.version, time.monotonic(), took, memory))

    def _all(self) -> list[EngineHost]:
        return [host for hosts in self._hosts.values() for host in hosts]

    def _host(self, model: Model) -> EngineHost:
        hosts = self._hosts_of(model)
        if model.ref in self._overdue:  # who holds it may run it, the others refuse it
            hosts = tuple(host for host in hosts if host.holds(model)) or hosts
        return min(hosts, key=lambda host: (host.busy, not host.holds(model)))

    def _hosts_of(self, model: Model) -> tuple[EngineHost, ...]:
        if model.interpreter not in self._hosts:
            self._hosts[model.interpreter] = tuple(
                EngineHost(
                    interpreter=model.interpreter,
                    device=device,
                    scratch=self._scratch,
                    limits=self._limits,
                    overdue=self._overdue,
                    on_load=self._note,
                )
                for device in self._devices
            )
        return self._hosts[model.interpreter]


def _use(device: Device, hosts: Sequence[EngineHost]) -> Use:
    return Use(
        device,
        busy_s=sum(host.meter.seconds for host in hosts),
        resident_mb=sum(host.memory_mb for host in hosts),
        starts=sum(host.starts for host in hosts),
    )


def _held(ref: str, reports: Sequence[LoadReport]) -> Held:
    name, _, version = ref.partition("@")
    took = [seconds for report in reports if (seconds := _measured(report.load_s)) is not None]
    memory = sum(_measured(report.memory_mb) or 0.0 for report in reports)
    return Held(name, version, len(reports), max(took, default=None), memory or None)


def _measured(told: float) -> float | None:
    """As far as it is a measurement: an algorithm can forge what its engine says."""
    return told if math.isfinite(told) and 0 <= told < _BEYOND else None


def devices_of(kind: str, engines: int) -> tuple[Device, ...]:
    """What so many engine processes compute on: the CPU together, or a GPU each.

    Raises:
        Misconfigured: CUDA_VISIBLE_DEVICES names fewer GPUs.
    """
    if kind == "cpu" or engines == 1:
        return tuple(Device(kind, share=engines) for _ in range(engines))
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = [str(number) for number in range(engines)] if seen is None else _names(seen)
    if len(gpus) < engines:
        raise Misconfigured(f"{engines} engines want a GPU each, CUDA_VISIBLE_DEVICES names {len(gpus)}")
    return tuple(Device(kind, gpu=gpu, share=engines) for gpu in gpus[:engines])


def _names(listed: str) -> list[str]:
    return [name.strip() for name in listed.split(",") if name.strip()]
