"""The measurements. Contenders take turns within every round, so that a disturbance meets them all."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import redis.asyncio

from benchmarks import running
from benchmarks.engine import cpu, gpu
from benchmarks.engine.arithmetic import Weight
from benchmarks.engine.contenders import LeveretContender
from benchmarks.engine.draining import Turn, take_turn
from benchmarks.engine.entries import DeviceEntry, Entries, Inputs
from benchmarks.engine.plan import HANDED_BYTES, MANY_IN_HAND, ON_GPU, WEIGH_EVERY_S
from benchmarks.figures import Spread, spread_of
from benchmarks.load import connected
from deploy.local.applications import run_module
from deploy.local.processes import Process
from deploy.local.state import State
from deploy.local.together import together

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from benchmarks.engine.leveret import MeasuredLeveret
    from benchmarks.engine.plan import Plan
    from benchmarks.load import Request
    from deploy.local.progress import Progress

TENSOR_BYTES = 4 * 3 * 224 * 224
WARM_UP_JOBS = 10
RELOADS = 5
SETTLE_S = 2.0
SERVERS = ("seaweedfs", "postgresql", "rabbitmq", "redis")
RAW_CALLS_S = 2.0
SLOWEST_PER_S = 20
"""Below this rate the memory run would take too long, and something else is wrong."""


@dataclass(frozen=True, slots=True)
class Raw:
    """The work alone: jobs per second, and the median call in seconds."""

    rate: float
    p50: float


@dataclass(frozen=True, slots=True)
class Latency:
    """One job at a time: the client's seconds, the work's own, and the medians of its stages."""

    client: Spread
    raw_p50: float
    stages: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Reload:
    """The first job after the engine was killed between two jobs: the client's seconds, and the load's."""

    client_s: float
    load_s: float


@dataclass(slots=True)
class Figures:
    """Everything measured; a list holds one entry per round.

    Attributes:
        raw: By what is computed.
        devices: By what is computed and who did it; `batches` tells for each how many of its jobs one job of
            `raw` stands for.
        stages: The medians of the last round's receipts, by the same.
        reloads: By model.
        drains: By messages in hand and who it was.
        memory: Of the worker's parent and its engine, as it went.
    """

    raw: dict[int | str, list[Raw]] = field(default_factory=lambda: defaultdict(list))
    devices: dict[tuple[int | str, str], list[Turn]] = field(default_factory=lambda: defaultdict(list))
    batches: dict[tuple[int | str, str], int] = field(default_factory=dict)
    stages: dict[tuple[int | str, str], dict[str, float]] = field(default_factory=dict)
    drains: dict[tuple[int, str], list[Turn]] = field(default_factory=lambda: defaultdict(list))
    latencies: dict[str, Latency] = field(default_factory=dict)
    reloads: dict[str, list[Reload]] = field(default_factory=lambda: defaultdict(list))
    memory: dict[str, list[Weight]] = field(default_factory=lambda: defaultdict(list))


class Measuring:
    """One run.

    Args:
        folder: The private servers' folder; the catalog lies in it.
        settings: Their `LEVERET_` variables.
        side: Leveret, not yet started.
        plan: How much.
        progress: Where progress is printed.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, str],
        side: MeasuredLeveret,
        plan: Plan,
        progress: Progress,
    ) -> None:
        self._folder, self._side, self._plan, self._progress = folder, side, plan, progress
        self._redis = settings["LEVERET_REDIS_URL"]
        self._entries = Entries(folder, settings, side)
        self.figures = Figures()

    async def run(self, only: frozenset[str], *, batching: bool) -> Figures:
        """Measure what is named; stops what it starts but the gateway."""
        await self._side.start()
        self._progress.say("the gateway serves")
        inputs = await self._upload()
        if "latency" in only:
            await self._all_latencies(inputs)
        if "drains" in only:
            await self._all_drains()
        if "devices" in only:
            await self._all_devices([*self._entries.devices(self._plan, inputs, batching=batching)])
        if "gpu" in only:
            await self._all_devices([*self._entries.gpu(self._plan, inputs)])
        if "memory" in only:
            await self._memory()
        return self.figures

    async def _upload(self) -> Inputs:
        seeded = random.Random(4)  # noqa: S311  any bytes
        handed = await self._side.upload(seeded.randbytes(HANDED_BYTES))
        tensor = await self._side.upload(bytes(TENSOR_BYTES))
        half = await self._side.upload(bytes(TENSOR_BYTES // 2))
        return Inputs(handed, f"bench/uploads/{handed}", tensor, half)

    async def _raw(self, work: int | str) -> None:
        """The work alone, while no worker runs."""
        match work:
            case int(hold_ms):
                asked: tuple[str, ...] = (
                    "device",
                    "device",
                    str(round(RAW_CALLS_S * 1000 / hold_ms)),
                    str(hold_ms),
                )
            case "resnet":
                asked = ("resnet", "resnet", str(self._plan.latency_jobs // 5))
            case str(model) if model in ON_GPU:
                asked = ("gpu", model, str(self._plan.gpu_jobs // ON_GPU[model]), str(ON_GPU[model]))
            case _:
                asked = ("noop", "noop", "10000")
        what, model, *rest = asked
        module = ("benchmarks.engine.raw", what, str(self._folder / "catalog" / model), *rest)
        python = str(gpu.PYTHON) if what == "gpu" else sys.executable
        log = self._folder / "logs" / "raw.log"
        said = Raw(**json.loads(await run_module(*module, variables={}, log=log, python=python)))
        self.figures.raw[work].append(replace(said, rate=said.rate * ON_GPU.get(model, 1)))

    def _servers(self) -> dict[str, int]:
        """The servers' processes, and the gateway's, whose CPU time is told beside the worker's."""
        known = State.load(self._folder / "state.json").processes
        return {name: known[name].pid for name in SERVERS} | {"gateway": self._side.gateway_pid}

    async def _all_drains(self) -> None:
        for number in range(self._plan.rounds):
            for in_hand, contender in self._entries.drains():
                count = self._plan.drain_jobs // (3 if "S3" in contender.name else 1)
                turn = await take_turn(contender, count, self._servers())
                self.figures.drains[in_hand, contender.name].append(turn)
                self._said("no-op", number, contender.name, turn)

    async def _all_devices(self, entries: Sequence[DeviceEntry]) -> None:
        for number in range(self._plan.rounds):
            for entry in entries:
                if len(self.figures.raw[entry.work]) == number:  # beside its rows: the machine's mood changes
                    await self._raw(entry.work)
                turn = await take_turn(entry.contender, self._count(entry), self._servers())
                key = entry.work, entry.contender.name
                self.figures.devices[key].append(turn)
                self.figures.batches[key] = entry.batch
                if isinstance(entry.contender, LeveretContender):
                    self.figures.stages[key] = await self._side.stages(entry.contender.job_ids)
                self._said(f"device {entry.work}", number, entry.contender.name, turn)

    def _count(self, entry: DeviceEntry) -> int:
        if entry.work in ON_GPU:
            return self._plan.gpu_jobs
        return self._plan.jobs_of(entry.work if isinstance(entry.work, int) else 100, entry.batch)

    def _said(self, what: str, number: int, name: str, turn: Turn) -> None:
        self._progress.say(
            f"{what}, round {number + 1} of {self._plan.rounds}: {name}: {turn.pace.rate:.1f} jobs/s"
        )

    async def _all_latencies(self, inputs: Inputs) -> None:
        """One client, one job at a time, one slot, a worker that is warm and idle."""
        value: dict[str, Any] = {"value": {"json": 1}}
        given = {"noop": value, "byte": value, "resnet": {"tensor": {"upload_id": inputs.tensor}}}
        for model, inputs_ in given.items():
            await self._side.start_worker(1, model)
            request = self._side.job(model, inputs_, wait=True)
            count = self._plan.latency_jobs // (4 if model == "resnet" else 1)
            client, job_ids = await self._one_by_one(request, count)
            for _ in range(RELOADS):
                self.figures.reloads[model].append(await self._reload(request))
            await self._side.stop_worker()
            raw = await self._raw_p50("resnet" if model == "resnet" else "noop")
            self.figures.latencies[model] = Latency(client, raw, await self._side.stages(job_ids))
            self._progress.say(f"latency of {model}: p50 {client.p50 * 1000:.1f} ms")

    async def _reload(self, request: Request) -> Reload:
        """Kill the engine while it is idle, and time the next job."""
        engine = running.engine_of(self._side.worker.pid)
        os.kill(engine, signal.SIGKILL)
        while Process.of(engine) is not None:  # noqa: ASYNC110  another process's end is no event of this loop
            await asyncio.sleep(0.01)
        began = time.perf_counter()
        async with connected(self._side.url) as connection:
            answer = await connection.exchange(request)
        took = time.perf_counter() - began
        stages = await self._side.stages([self._side.job_id(answer.body)])
        return Reload(took, stages["load_s"])

    async def _raw_p50(self, work: str) -> float:
        await self._raw(work)
        return self.figures.raw.pop(work)[-1].p50

    async def _one_by_one(self, request: Request, count: int) -> tuple[Spread, list[str]]:
        took: list[float] = []
        job_ids: list[str] = []
        async with connected(self._side.url) as connection:
            for number in range(WARM_UP_JOBS + count):
                began = time.perf_counter()
                answer = await connection.exchange(request)
                if number >= WARM_UP_JOBS:
                    took.append(time.perf_counter() - began)
                    job_ids.append(self._side.job_id(answer.body))
        return spread_of(took), job_ids

    async def _memory(self) -> None:
        """One worker with many slots, weighed idle and while no-op jobs pass through it."""
        request = self._side.job("noop", {"value": {"json": 1}}, wait=False)
        await self._side.start_worker(MANY_IN_HAND, "noop")
        async with redis.asyncio.from_url(self._redis, socket_timeout=10) as results:
            await results.flushdb()
            await asyncio.sleep(SETTLE_S)
            self._weighed(0)
            async with asyncio.timeout(self._plan.memory_jobs / SLOWEST_PER_S):
                await together(self._submit(request), self._weigh(results))
        await self._side.stop_worker()

    async def _submit(self, request: Request) -> None:
        await self._side.enqueue(request, self._plan.memory_jobs)

    async def _weigh(self, results: redis.asyncio.Redis) -> None:
        done, told = 0, 0
        while done < self._plan.memory_jobs:
            done = int(await results.dbsize())
            self._weighed(done)
            if done - told >= self._plan.memory_jobs // 5:
                told = done
                self._progress.say(f"memory: {done} jobs")
            await asyncio.sleep(WEIGH_EVERY_S)
        await asyncio.sleep(SETTLE_S)
        self._weighed(done)

    def _weighed(self, done: int) -> None:
        parent, child = cpu.held(self._side.worker.pid)
        self.figures.memory["worker's parent"].append(Weight(done, parent))
        self.figures.memory["its engine"].append(Weight(done, child))
