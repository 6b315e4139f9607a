"""The play: nobody is there, jobs come, workers start and share them, faults happen, workers leave."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.running import Running
from benchmarks.timeline.books import Books
from benchmarks.timeline.plan import Plan
from benchmarks.timeline.recording import Doing, Look, Moments, Recording
from benchmarks.timeline.stage import Stage, when
from gateway.client import AsyncClient


async def play(stage: Stage, plan: Plan) -> Recording:
    """Play it from the beginning to the end, and tell what happened.

    Raises:
        UnexpectedAnswerError: Something that was to happen did not.
        StackError: A process did not start.
    """
    async with _books(stage) as books, stage.scalers(plan) as (leader, standby):
        acts = _Acts(stage, plan, books)
        moments = await acts.all(leader, standby)
        began = acts.began
        return Recording(
            looks=[replace(each, at=each.at - began) for each in books.looks],
            decisions=await books.decisions(began),
            moments=moments,
            counts=await books.counts(acts.accepted, acts.runs()),
        )


@asynccontextmanager
async def _books(stage: Stage) -> AsyncIterator[Books]:
    database: asyncpg.Connection[Any] = await asyncpg.connect(
        stage.variables["LEVERET_POSTGRES_DSN"], timeout=10
    )
    books = Books(database, stage.state_dir)
    try:
        yield books
    finally:
        books.end()
        await database.close(timeout=5)


@dataclass
class _Acts:
    stage: Stage
    plan: Plan
    books: Books
    began: float = 0.0
    accepted: list[str] = field(default_factory=list)

    @property
    def ledger(self) -> Path:
        return self.stage.folder / "ledger"

    def runs(self) -> Mapping[str, int]:
        """How often the algorithm ran, by the number of the job."""
        return Counter(self.ledger.read_text().split())

    async def all(self, leader: Running, standby: Running) -> Moments:
        """Everything, while somebody watches."""
        watching = asyncio.create_task(self.books.watch())
        try:
            return await _first_of(watching, asyncio.create_task(self._acts(leader, standby)))
        finally:
            watching.cancel()
            await asyncio.wait([watching])

    async def _acts(self, leader: Running, standby: Running) -> Moments:
        await asyncio.sleep(self.plan.quiet_s)
        async with AsyncClient(self.stage.url, self.stage.key) as client, asyncio.TaskGroup() as beside:
            submitting = beside.create_task(self._submit(client))
            drained, who = await self._drain_one()
            killed, taken_over = await self._kill(leader, standby)
            await submitting
        done = await self.books.until("every job is done", lambda look: look.done == self.plan.jobs)
        empty = await self.books.until("nobody is left", lambda look: not look.workers)
        await asyncio.sleep(self.plan.quiet_s)
        return Moments(
            drained=drained - self.began,
            who=who,
            killed=killed - self.began,
            taken_over=taken_over - self.began,
            done=done.at - self.began,
            empty=empty.at - self.began,
        )

    async def _submit(self, client: AsyncClient) -> None:
        """The burst at once, the others one by one."""
        self.began = time.time()
        jobs = iter(enumerate(self.plan.priorities()))
        async with asyncio.TaskGroup() as burst:
            for _ in range(self.plan.burst):
                burst.create_task(self._one(client, jobs))
        await asyncio.sleep(self.plan.pause_s)
        for gap_s in self.plan.gaps():
            await asyncio.sleep(gap_s)
            await self._one(client, jobs)

    async def _one(self, client: AsyncClient, jobs: Iterator[tuple[int, int]]) -> None:
        number, priority = next(jobs)
        params = {"seconds": self.plan.seconds(number), "ledger": str(self.ledger)}
        job = await client.submit("nap", inputs={"number": number}, params=params, priority=priority)
        self.accepted.append(job.id)

    async def _drain_one(self) -> tuple[float, str]:
        """An operator sends away one of several that work."""
        look = await self.books.until(
            "two workers are busy",
            lambda look: look.done >= self.plan.drain_at and look.count(Doing.BUSY) > 1,
        )
        who = min(name for name, doing in look.workers.items() if doing is Doing.BUSY)
        at = time.time()
        await self.stage.command("workers", "drain", who)
        return at, who

    async def _kill(self, leader: Running, standby: Running) -> tuple[float, float]:
        """The leading scaler ends without a word, in the midst of it."""
        await self.books.until("enough jobs are done", self._enough)
        at = time.time()
        leader.child.kill()
        leader.child.wait(5)
        await self.books.until("the standby leads", lambda _: _leads(standby))
        return at, when(standby.log, "scaler.leading") or 0.0

    def _enough(self, look: Look) -> bool:
        return look.done >= self.plan.kill_at


def _leads(scaler: Running) -> bool:
    return when(scaler.log, "scaler.leading") is not None


async def _first_of(watching: asyncio.Task[None], acting: asyncio.Task[Moments]) -> Moments:
    """What the acts came to; a watcher that fails ends them."""
    await asyncio.wait([watching, acting], return_when=asyncio.FIRST_COMPLETED)
    if not acting.done():
        acting.cancel()
        await asyncio.wait([acting])
        watching.result()
    return acting.result()
