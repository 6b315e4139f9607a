"""The measurements, in an order in which none leaves work behind for the next.

First latency (workers warm and idle), then drains (a worker meets a full queue), then submits (no worker, the
queue only grows). Sides take turns within every round, so that a disturbance of the machine meets both.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks import memory, running
from benchmarks.figures import Spread, spread_of
from benchmarks.load import LoadResult, UnexpectedAnswerError, connected, run_count, run_for
from benchmarks.plan import CLIENTS, SLOTS, WARM_UP_JOBS, Plan
from deploy.local.ports import free_ports
from deploy.local.together import together

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from benchmarks.memory import Held
    from benchmarks.sides import Side
    from deploy.local.progress import Progress

ENQUEUE_CLIENTS = 64
LOOK_EVERY_S = 0.5
DRAIN_S = 120
CEILING_S = 1.5
WAYS = ("held", "pushed", "fetched")


@dataclass(slots=True)
class Figures:
    """Everything measured, by side; a list holds one entry per round."""

    submits: dict[tuple[str, int], list[LoadResult]] = field(default_factory=lambda: defaultdict(list))
    drains: dict[tuple[str, int], list[float]] = field(default_factory=lambda: defaultdict(list))
    latencies: dict[tuple[str, str], list[Spread]] = field(default_factory=lambda: defaultdict(list))
    held: dict[tuple[str, str, str], Held] = field(default_factory=dict)
    ceiling: LoadResult | None = None


class Measuring:
    """One run over both sides.

    Args:
        sides: Leveret and the peer.
        plan: How much.
        progress: Where progress is printed.
    """

    def __init__(self, sides: Sequence[Side], plan: Plan, progress: Progress) -> None:
        self._sides, self._plan, self._progress = sides, plan, progress
        self.figures = Figures()

    async def run(self, folder: Path) -> Figures:
        """Measure everything; stops what it starts but the HTTP processes."""
        await self._ceiling(folder)
        await together(*(side.start() for side in self._sides))
        self._progress.say("the HTTP processes serve")
        self._weigh("idle")
        await self._all_latencies()
        await self._all_drains()
        await self._all_submits()
        self._weigh("after")
        return self.figures

    async def _ceiling(self, folder: Path) -> None:
        """What the load itself reaches against a server that does nothing."""
        (port,) = free_ports(1)
        server = running.start(folder, "nothing", "benchmarks.nothing", str(port), variables={})
        url = f"http://127.0.0.1:{port}"
        await server.until(lambda: _listens(url), "the server that does nothing")
        self.figures.ceiling = await run_for(
            url, self._sides[1].submit, clients=ENQUEUE_CLIENTS, seconds=CEILING_S
        )
        await server.stop()

    def _weigh(self, moment: str) -> None:
        """Read every process's memory; of several readings at the same moment the largest counts."""
        for side in self._sides:
            for role, pid in side.pids().items():
                key, now = (side.name, role, moment), memory.held_by(pid)
                before = self.figures.held.get(key, now)
                self.figures.held[key] = max(before, now, key=lambda held: held.rss)

    async def _all_latencies(self) -> None:
        await together(*(side.start_worker(1) for side in self._sides))
        self._weigh("idle")
        self._progress.say("the workers are ready")
        for side in self._sides:
            for way in WAYS:
                await _latency(side, way, WARM_UP_JOBS)
        for number in range(self._plan.latency_rounds):
            for way in WAYS:
                for side in self._sides:
                    spread = await _latency(side, way, self._plan.latency_jobs)
                    self.figures.latencies[side.name, way].append(spread)
            self._said("latency", number, self._plan.latency_rounds)
        for side in self._sides:
            await side.stop_worker()

    async def _all_drains(self) -> None:
        for number in range(self._plan.drain_rounds):
            for side in self._sides:
                await self._drain(side, SLOTS[0])
            for slots in SLOTS[1:]:
                await self._drain(self._sides[0], slots)
            self._said("drain", number, self._plan.drain_rounds)

    async def _drain(self, side: Side, slots: int) -> None:
        count = self._plan.drain_jobs
        bodies = await run_count(side.url, side.submit, clients=ENQUEUE_CLIENTS, count=count)
        job_ids = [side.job_id(body) for body in bodies]
        await side.start_worker(slots)
        self.figures.drains[side.name, slots].append(await _drained(side, job_ids))
        self._weigh("after")
        await side.stop_worker()

    async def _all_submits(self) -> None:
        for number in range(self._plan.submit_rounds):
            for clients in CLIENTS:
                for side in self._sides:
                    result = await run_for(
                        side.url, side.submit, clients=clients, seconds=self._plan.submit_s
                    )
                    self.figures.submits[side.name, clients].append(result)
            self._said("submit", number, self._plan.submit_rounds)

    def _said(self, what: str, number: int, rounds: int) -> None:
        self._progress.say(f"{what}: round {number + 1} of {rounds}")


async def _listens(url: str) -> bool:
    try:
        async with connected(url):
            return True
    except OSError:
        return False


async def _latency(side: Side, way: str, count: int) -> Spread:
    """One client, one job at a time: seconds from the first byte sent until the result is in its hands."""
    took: list[float] = []
    async with connected(side.url) as connection:
        for _ in range(count):
            began = time.perf_counter()
            if way == "pushed":
                answer = await connection.exchange(side.submit)
                await side.await_result(side.job_id(answer.body))
            else:
                answer = await connection.exchange(side.submit_and_wait)
                if way == "fetched":
                    await side.fetch_value(answer.body)
            took.append(time.perf_counter() - began)
    return spread_of(took)


async def _drained(side: Side, job_ids: Sequence[str]) -> float:
    """Jobs per second from the first job's end to the last one's, by the clock that wrote both down."""
    async with asyncio.timeout(DRAIN_S):
        while (done := await side.finished(job_ids)).count < len(job_ids):  # noqa: ASYNC110  others' doing
            await asyncio.sleep(LOOK_EVERY_S)
    if done.first is None or done.last is None:
        raise UnexpectedAnswerError("jobs succeeded at no time")
    return (done.count - 1) / (done.last - done.first).total_seconds()


@asynccontextmanager
async def workers_gone(sides: Sequence[Side]) -> AsyncIterator[None]:
    """Stop the workers however the block is left, so that the servers stop without their complaints."""
    try:
        yield
    finally:
        for side in sides:
            await side.stop_worker()
