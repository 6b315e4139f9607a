"""Who takes part in what: the one place where slots, pools and prefetches are chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.engine.contenders import (
    BY_HAND,
    CELERY,
    DRAMATIQ,
    TASKIQ,
    Contender,
    LeveretContender,
    Peer,
    results_of,
    variables_of,
)
from benchmarks.engine.plan import BATCH, FLOOR, FP16_BATCHED, MANY_IN_HAND, ON_GPU

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from benchmarks.engine.leveret import MeasuredLeveret
    from benchmarks.engine.plan import Plan
    from benchmarks.load import Request

DEVICE_APP, NOOP_APP = "benchmarks.engine.peers.celery_app", "benchmarks.peer.tasks"
MEMORY = "/dev/shm"  # noqa: S108  a worker makes a private folder in it
SUCCESS = {CELERY: b'"status": "SUCCESS"', TASKIQ: b'"is_err": false', DRAMATIQ: b"", BY_HAND: b"1"}


@dataclass(frozen=True, slots=True)
class Inputs:
    """What was uploaded for the jobs that take a file: the upload's id, and its key in S3."""

    handed: str
    handed_key: str
    tensor: str
    half: str


@dataclass(frozen=True, slots=True)
class DeviceEntry:
    """One contender for one simulated device.

    Attributes:
        work: What is computed: milliseconds of the simulated device, or a graph's model.
        batch: How many of its jobs one of the work alone stands for: its largest batch on the simulated
            device, which takes no longer for it; 1 for a graph, measured alone in batches of the same size.
    """

    work: int | str
    contender: Contender
    batch: int = 1


class Entries:
    """Makes the contenders of one run.

    Args:
        folder: The run's folder.
        settings: The servers' `LEVERET_` variables.
        side: Leveret's gateway, and its one worker at a time.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str], side: MeasuredLeveret) -> None:
        self._folder, self._settings, self._side = folder, settings, side

    def devices(self, plan: Plan, inputs: Inputs, *, batching: bool) -> Iterator[DeviceEntry]:
        """For the device: Leveret with few and more slots, in batches where it forms them, and Celery."""
        for hold_ms in plan.holds_ms:
            for slots in plan.slots:
                yield DeviceEntry(hold_ms, self._device(inputs, hold_ms, slots, "device"))
            yield DeviceEntry(hold_ms, self._in_memory(inputs, hold_ms, plan.slots[-1]))
            if batching:
                yield DeviceEntry(hold_ms, self._device(inputs, hold_ms, 2 * BATCH, "batched"), BATCH)
            yield DeviceEntry(hold_ms, self._celery_device(inputs.handed_key, hold_ms))
        for slots in plan.slots[:2]:
            job = self._side.job("resnet", {"tensor": {"upload_id": inputs.tensor}}, wait=False)
            yield DeviceEntry("resnet", self._leveret(f"Leveret, {_slots(slots)}", "resnet", slots, job))

    def gpu(self, plan: Plan, inputs: Inputs) -> Iterator[DeviceEntry]:
        """For a card, strictly: ResNet-50's shape in FP16, one by one and in batches."""
        for work in ON_GPU:
            for slots in plan.slots:
                job = self._side.job(work, {"tensor": {"upload_id": inputs.half}}, wait=False)
                contender = self._leveret(_named(slots, batched=work == FP16_BATCHED), work, slots, job)
                contender.extra = {"LEVERET_WORKER_DEVICE": "cuda"}
                yield DeviceEntry(work, contender)

    def _device(self, inputs: Inputs, hold_ms: int, slots: int, model: str) -> LeveretContender:
        given = {"data": {"upload_id": inputs.handed}}
        job = self._side.job(model, given, {"hold_ms": hold_ms}, wait=False)
        return self._leveret(_named(slots, batched=model == "batched"), model, slots, job)

    def _in_memory(self, inputs: Inputs, hold_ms: int, slots: int) -> Contender:
        """What crosses to the engine and back lies on a tmpfs instead of a disk."""
        contender = self._device(inputs, hold_ms, slots, "device")
        contender.name += ", scratch in memory"
        contender.extra = {"LEVERET_WORKER_SCRATCH": MEMORY}
        return contender

    def _leveret(self, name: str, model: str, slots: int, job: Request | None = None) -> LeveretContender:
        asked = job or self._side.job(model, {"value": {"json": 1}}, wait=False)
        return LeveretContender(name, self._side, model, slots, asked, self._settings["LEVERET_REDIS_URL"])

    def _celery_device(self, key: str, hold_ms: int) -> Contender:
        options = _celery(DEVICE_APP, "device", "prefork", 1, 1)
        extra = {"BENCH_PEER_DEVICE": str(self._folder / "catalog" / "device")}
        fills = ("device", (key, str(hold_ms)))
        return self._peer(
            "Celery, prefork -c 1, prefetch 1", CELERY, options, in_hand=1, fills=fills, extra=extra
        )

    def drains(self) -> Iterator[tuple[int, Contender]]:
        """For the no-op: everyone with one message in hand, and with many."""
        for in_hand in (1, MANY_IN_HAND):
            yield in_hand, self._leveret(f"Leveret, {_slots(in_hand)}, no output", "noop", in_hand)
            yield in_hand, self._leveret(f"Leveret, {_slots(in_hand)}, 1 byte to S3", "byte", in_hand)
            yield in_hand, self._by_hand(in_hand)
            for contender in self._noop_peers(in_hand):
                yield in_hand, contender

    def _by_hand(self, in_hand: int) -> Contender:
        command = ("benchmarks.engine.peers.by_hand",)
        return self._peer(
            f"{FLOOR}, {in_hand} at once", BY_HAND, command, in_hand=in_hand, fills=("by_hand", ())
        )

    def _noop_peers(self, in_hand: int) -> Iterator[Contender]:
        yield self._celery(f"Celery, prefork -c 1, prefetch {in_hand}", "prefork", 1, in_hand)
        if in_hand > 1:
            yield self._celery(f"Celery, threads -c {in_hand}", "threads", in_hand, 1)
        yield self._peer(
            f"taskiq, {in_hand} at once, qos {in_hand}",
            TASKIQ,
            _taskiq(in_hand),
            in_hand=in_hand,
            fills=("taskiq", ()),
        )
        threads = f"{in_hand} thread{'s' if in_hand > 1 else ''}"
        yield self._peer(
            f"dramatiq, {threads}, prefetch {in_hand}",
            DRAMATIQ,
            _dramatiq(in_hand),
            in_hand=in_hand,
            fills=("dramatiq", ()),
        )

    def _celery(self, name: str, pool: str, concurrency: int, multiplier: int) -> Contender:
        options = _celery(NOOP_APP, "noop", pool, concurrency, multiplier)
        return self._peer(name, CELERY, options, in_hand=concurrency * multiplier, fills=("celery", ()))

    def _peer(
        self,
        name: str,
        kind: str,
        command: tuple[str, ...],
        *,
        in_hand: int,
        fills: tuple[str, tuple[str, ...]],
        extra: Mapping[str, str] | None = None,
    ) -> Contender:
        variables = variables_of(kind, self._settings, in_hand) | dict(extra or {})
        results = results_of(kind, self._settings)
        return Peer(name, kind, self._folder, command, variables, fills, results, SUCCESS[kind])


def _named(slots: int, *, batched: bool) -> str:
    return f"Leveret, {_slots(slots)}" + (f", batches of {BATCH}" if batched else "")


def _slots(count: int) -> str:
    return f"{count} slot{'s' if count > 1 else ''}"


def _celery(app: str, queue: str, pool: str, concurrency: int, multiplier: int) -> tuple[str, ...]:
    options = ("-P", pool, "-c", str(concurrency), "--prefetch-multiplier", str(multiplier))
    return ("celery", "-A", app, "worker", *options, "-Q", queue, "-l", "INFO")


def _taskiq(at_once: int) -> tuple[str, ...]:
    options = ("--workers", "1", "--max-async-tasks", str(at_once), "--ack-type", "when_saved")
    return ("taskiq", "worker", *options, "benchmarks.engine.peers.taskiq_app:broker")


def _dramatiq(threads: int) -> tuple[str, ...]:
    options = ("--processes", "1", "--threads", str(threads), "--queues", "noop")
    return ("dramatiq", "benchmarks.engine.peers.dramatiq_app:broker", *options)
