"""Reads what a run did: rows in PostgreSQL, the fleet's list of processes, the algorithm's own file."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from benchmarks.load import UnexpectedAnswerError
from benchmarks.timeline.plan import QUEUE
from benchmarks.timeline.recording import Counts, Decided, Doing, Look
from scaler.fleet.book import Book
from scaler.fleet.system import Process
from scaler.snapshot import tier_of

LOOK_S = 0.25
PATIENCE_S = 180
JOBS = """
select state, priority, count(*) as jobs,
       greatest(0, extract(epoch from clock_timestamp() - min(queued_at)))::float8 as oldest_s
from jobs where queue = $1 group by state, priority
"""
NOW = "select extract(epoch from clock_timestamp())::float8"
CREW = """
select w.id, w.state, w.drain,
       exists (select 1 from jobs j where j.worker = w.id and j.state = 'running') as busy
from workers w where w.queue = $1
"""
DECISIONS = """
select extract(epoch from at)::float8 as at, want, have, actions, reason
from decisions where fleet = $1 order by id
"""
FATES = """
select j.state,
       (select count(*) from events e where e.job_id = j.id and e.type in
        ('job.succeeded', 'job.failed', 'job.canceled', 'job.expired')) as endings,
       (select count(*) from attempts a where a.job_id = j.id and a.outcome = 'succeeded') as successes,
       (select count(*) from attempts a where a.job_id = j.id and a.outcome <> 'succeeded') as cut_short
from jobs j where j.id = any($1::uuid[])
"""
SILENT = "select count(*) from workers where queue = $1 and state <> 'gone'"


@dataclass
class Books:
    """One connection of its own, and the folder of the scalers' state.

    Attributes:
        looks: So far; their moments are those of the wall clock.
    """

    database: asyncpg.Connection[Any]
    state_dir: Path
    looks: list[Look] = field(default_factory=list)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def watch(self) -> None:
        """Look four times a second, until cancelled."""
        while True:
            look = await self._look()
            async with self._news:
                self.looks.append(look)
                self._news.notify_all()
            await asyncio.sleep(LOOK_S)

    async def until(self, what: str, holds: Callable[[Look], bool]) -> Look:
        """The first look from now on at which it holds.

        Raises:
            UnexpectedAnswerError: It does not, for three minutes.
        """
        try:
            async with asyncio.timeout(PATIENCE_S), self._news:
                await self._news.wait()
                await self._news.wait_for(lambda: holds(self.looks[-1]))
                return self.looks[-1]
        except TimeoutError:
            raise UnexpectedAnswerError(f"waited for {PATIENCE_S} s in vain: {what}") from None

    async def _look(self) -> Look:
        living = self.living()
        jobs = await self.database.fetch(JOBS, QUEUE)
        crew = {row["id"]: row for row in await self.database.fetch(CREW, QUEUE)}
        queued = [row for row in jobs if row["state"] == "queued"]
        waiting = Counter[str]()
        for row in queued:
            waiting[tier_of(row["priority"]).value] += row["jobs"]
        return Look(
            at=await self.database.fetchval(NOW),
            waiting=dict(waiting),
            oldest_s=max((row["oldest_s"] for row in queued), default=0.0),
            done=sum(row["jobs"] for row in jobs if row["state"] == "succeeded"),
            workers={name: doing(crew.get(name)) for name in living},
        )

    def living(self) -> list[str]:
        """The fleet's own processes that run, by their worker's id."""
        return [name for name, process in self._book().items() if process.alive]

    def end(self) -> None:
        """Kill whoever still runs: for a run that failed."""
        for process in self._book().values():
            process.send(signal.SIGKILL, group=True)

    def _book(self) -> Mapping[str, Process]:
        return Book(self.state_dir / f"{QUEUE}.json").read()

    async def decisions(self, began: float) -> Sequence[Decided]:
        """All of them, in order, told from a moment of the wall clock."""
        return [
            Decided(
                at=row["at"] - began,
                want=row["want"],
                have=row["have"],
                did=_did(json.loads(row["actions"])) or ("hold" if row["want"] is None else "wait"),
                reason=row["reason"],
            )
            for row in await self.database.fetch(DECISIONS, QUEUE)
        ]

    async def counts(self, accepted: Sequence[str], runs: Mapping[str, int]) -> Counts:
        """Of these jobs, and of all workers of the queue.

        Args:
            accepted: Their ids.
            runs: How often the algorithm ran, by its own notes.
        """
        fates = await self.database.fetch(FATES, [UUID(each) for each in accepted])
        twice = sum(fate["endings"] > 1 or fate["successes"] > 1 for fate in fates)
        return Counts(
            accepted=len(accepted),
            lost=len(accepted) - sum(fate["state"] == "succeeded" and fate["endings"] > 0 for fate in fates),
            twice=max(twice, sum(count > 1 for count in runs.values())),
            killed_busy=sum(fate["cut_short"] for fate in fates),
            silent=await self.database.fetchval(SILENT, QUEUE),
            left=len(self.living()),
        )


def doing(row: Mapping[str, Any] | None) -> Doing:
    """What a living process is at, by its worker's row; None where there is none yet."""
    if row is None or row["state"] == "starting":
        return Doing.STARTING
    if row["drain"] or row["state"] != "ready":
        return Doing.LEAVING
    return Doing.BUSY if row["busy"] else Doing.IDLE


def _did(actions: Mapping[str, Any]) -> str:
    parts = [f"start {actions['launch']}"] if actions["launch"] else []
    parts += [f"ask {name} to leave" for name in actions["drain"]]
    parts += [f"end {name}" for name in actions["terminate"]]
    return ", ".join(parts)
