"""The worker and its devices on the metrics page, read when somebody looks: none of it is on a job's path."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from prometheus_client import Gauge
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from gpu_worker.engines import Use
from gpu_worker.nvml import Cards

JOBS = Gauge("leveret_worker_jobs_in_hand", "Jobs claimed and not yet given back", ["queue"])
SLOTS = Gauge("leveret_worker_slots", "Jobs it takes in hand at most", ["queue"])

Family = CounterMetricFamily | GaugeMetricFamily
Memory = tuple[float, float]
"""Used and total bytes."""

_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
_UNKNOWN: Memory = (math.nan, math.nan)


class Engines(Protocol):
    """Who computes."""

    def uses(self) -> Sequence[Use]:
        """What they took of each device."""


def show_worker(queue: str, slots: int, busy: Callable[[], int]) -> None:
    """Show what one worker is, and how much it has in hand."""
    SLOTS.labels(queue).set(slots)
    JOBS.labels(queue).set_function(busy)


class Devices(Collector):
    """The devices of one worker; register it once.

    Args:
        queue: What the worker serves.
        engines: Who computes.
        cards: Where a GPU's memory is read.
    """

    def __init__(self, queue: str, engines: Engines, cards: Cards) -> None:
        self._queue = queue
        self._engines = engines
        self._cards = cards

    def describe(self) -> Iterable[Family]:
        """The families without a sample: whoever registers need not ask the devices."""
        return _families()

    def collect(self) -> Iterator[Family]:
        """The devices as they are now."""
        families = busy, used, total, resident, starts = _families()
        for number, use in enumerate(self._engines.uses()):
            labels = (self._queue, f"{use.device.kind}{number}")
            memory = memory_of(use, self._cards)
            busy.add_metric(labels, use.busy_s)
            used.add_metric(labels, memory[0])
            total.add_metric(labels, memory[1])
            resident.add_metric(labels, use.resident_mb * 1e6)
            starts.add_metric(labels, use.starts)
        yield from families


def _families() -> tuple[Family, ...]:
    labels = ("queue", "device")
    return (
        CounterMetricFamily(
            "leveret_worker_device_busy_seconds", "An engine's device stage was at work", labels=labels
        ),
        GaugeMetricFamily("leveret_worker_device_memory_used_bytes", "Of the device's memory", labels=labels),
        GaugeMetricFamily("leveret_worker_device_memory_total_bytes", "The device's memory", labels=labels),
        GaugeMetricFamily("leveret_worker_engine_memory_bytes", "Resident memory of engines", labels=labels),
        CounterMetricFamily("leveret_worker_engine_starts", "Engine processes started", labels=labels),
    )


def memory_of(use: Use, cards: Cards) -> Memory:
    """Of a card all that is on it; of the CPU what the engines hold of the machine's; NaN: not known."""
    if use.device.kind == "cpu":
        return use.resident_mb * 1e6, machine_bytes()
    return cards.memory(use.device.gpu) or _UNKNOWN


def machine_bytes() -> float:
    """The memory that this process may use: the machine's, bounded by its container's limit."""
    whole = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    try:
        limit = _CGROUP_LIMIT.read_text().strip()
    except OSError:
        return whole
    return min(whole, float(limit)) if limit.isdecimal() else whole
