"""What a worker's report says of its devices and models, and what it does not pretend to know."""

from __future__ import annotations

import asyncio
import ctypes
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest

from gpu_worker import vitals as room
from gpu_worker.engine.launch import Device
from gpu_worker.engines import Held, Load, Use
from gpu_worker.gauges import machine_bytes
from gpu_worker.nvml import Cards
from gpu_worker.vitals import Vitals, processor
from shared.aside import NAME

pytestmark = pytest.mark.anyio

CPU, CUDA = Device("cpu"), Device("cuda", gpu="0")


@dataclass
class Used:
    """Engines whose figures a test turns."""

    busy_s: float = 0.0
    device: Device = CPU
    models: list[Held] = field(default_factory=list)
    untold: list[Load] = field(default_factory=list)

    def uses(self) -> list[Use]:
        return [Use(self.device, self.busy_s, resident_mb=250.4, starts=1)]

    def held(self) -> list[Held]:
        return self.models

    def loads(self) -> list[Load]:
        return list(self.untold)

    def told(self, loads: Sequence[Load]) -> None:
        self.untold = [load for load in self.untold if load not in loads]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Library:
    """NVML with one card; while `answers` is not set it does not come back."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.answers.set()

    def nvmlInit_v2(self) -> int:  # noqa: N802  the library's name
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, number: ctypes.c_uint, handle: object) -> int:  # noqa: N802
        self.answers.wait()
        return 0 if number.value == 0 else 2

    def nvmlDeviceGetName(self, handle: object, name: ctypes.Array[ctypes.c_char], size: int) -> int:  # noqa: N802
        name.value = b"NVIDIA L4"
        return 0 if size == len(name) else 7

    def nvmlDeviceGetMemoryInfo(self, handle: object, memory: object) -> int:  # noqa: N802
        found = memory._obj  # type: ignore[attr-defined]
        found.total, found.used = 24_000_000_000, 3_000_000_000
        return 0


async def test_how_busy_a_device_was_is_of_the_time_since_the_last_report() -> None:
    engines, clock = Used(), Clock()
    vitals = Vitals(engines, Cards(), clock=clock)

    async def utilisation(after_s: float, busy_s: float) -> float | None:
        clock.now, engines.busy_s = clock.now + after_s, engines.busy_s + busy_s
        [device] = (await vitals.report())["devices"]
        share: float | None = device["utilisation"]
        return share

    # Of the first look nobody knows; engines of two interpreters may be at work at once
    assert await utilisation(0, 3) is None
    assert await utilisation(10, 4) == 0.4
    assert await utilisation(1, 0) == 0
    assert await utilisation(10, 14) == 1
    assert await utilisation(0, 0) is None


async def test_the_cpus_memory_is_what_engines_hold_of_the_machines() -> None:
    [device] = (await Vitals(Used(), Cards()).report())["devices"]

    assert (device["device"], device["kind"], device["name"]) == ("cpu0", "cpu", processor())
    assert (device["memory_used"], device["memory_total"]) == (250_400_000, round(machine_bytes()))


async def test_a_card_tells_its_name_and_memory() -> None:
    [device] = (await Vitals(Used(device=CUDA), Cards(Library())).report())["devices"]

    assert (device["device"], device["name"]) == ("cuda0", "NVIDIA L4")
    assert (device["memory_used"], device["memory_total"]) == (3_000_000_000, 24_000_000_000)


async def test_of_a_card_that_is_not_there_nothing_is_known_and_nothing_is_zero() -> None:
    engines = Used(device=Device("cuda", gpu="7"))
    [device] = (await Vitals(engines, Cards(Library())).report())["devices"]

    assert (device["name"], device["memory_used"], device["memory_total"]) == (None, None, None)


async def test_a_driver_that_hangs_costs_no_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "LOOK_S", 0.01)
    library = Library()
    vitals = Vitals(Used(device=CUDA), Cards(library))
    library.answers.clear()
    try:
        async with asyncio.timeout(20):
            [hung] = (await vitals.report())["devices"]
            await vitals.report()
            threads = [thread for thread in threading.enumerate() if thread.name == NAME]
    finally:
        library.answers.set()
    assert (hung["kind"], hung["name"], hung["memory_used"]) == ("cuda", None, None)
    # One thread waits for it, however often one asks; and when it answers it is known again
    assert len(threads) == 1
    monkeypatch.setattr(room, "LOOK_S", 20)
    [well] = (await vitals.report())["devices"]
    assert well["memory_used"] == 3_000_000_000


async def test_models_are_told_with_what_they_took_and_no_more_than_fit() -> None:
    models = [Held("cutout", "1", 2, 2.1349, 184.5), Held("plain", "3", 1, None, None)]
    engines = Used(models=models + [Held(f"m{number}", "1", 1, 1.0, 1.0) for number in range(200)])

    told = (await Vitals(engines, Cards()).report())["models"]

    assert told[0] == {"name": "cutout", "version": "1", "engines": 2, "load_s": 2.135, "memory": 184_500_000}
    assert told[1] == {"name": "plain", "version": "3", "engines": 1, "load_s": None, "memory": None}
    assert len(told) == room.MODELS


async def test_loads_tell_how_long_ago_and_are_told_until_they_are_known() -> None:
    clock = Clock()
    first, second = (Load(uuid4(), "cutout", "1", at, 2.1, None) for at in (97.5, 100.0))
    engines = Used(untold=[first])
    vitals = Vitals(engines, Cards(), clock=clock)

    [told] = loads = vitals.loads()
    engines.untold.append(second)
    vitals.told(loads)

    assert told == {
        "id": str(first.id),
        "model": "cutout",
        "version": "1",
        "age_s": 2.5,
        "load_s": 2.1,
        "memory_mb": None,
    }
    assert engines.untold == [second]


def test_a_processor_without_a_name_is_not_known(tmp_path: Path) -> None:
    assert processor(tmp_path / "nothing") is None
    listed = tmp_path / "cpuinfo"
    listed.write_text("processor : 0\nmodel name\t: AMD EPYC 7R13\nmodel name\t: other\n")
    assert processor(listed) == "AMD EPYC 7R13"
    listed.write_text("processor : 0\nBogoMIPS : 50\n")
    assert processor(listed) is None
