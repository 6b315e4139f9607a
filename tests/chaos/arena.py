"""What a fault may lay hands on, and how it finds its victims."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

import asyncpg

from tests.chaos.crew import Crew, Member
from tests.chaos.servers import Servers
from tests.chaos.testimony import Testimony

LIVE = "select id::text, state, worker from jobs where state in ('waiting', 'queued', 'running')"
IN_STATE = """
select id::text from jobs
where state = any($1) and ($2::text is null or worker = $2) and ($3::uuid[] is null or id = any($3))
"""
LOOK_S = 0.25
PATIENCE_S = 90
AGAIN_S = 0.1
AWAY = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError)
T = TypeVar("T")


@dataclass(slots=True)
class Arena:
    """The run as the faults see it.

    Attributes:
        live: Jobs that have not ended, by state, as of the latest look.
        held: The same, running ones by their worker.
        looked_at: When that was, monotonic.
        open_doors: URLs of the gateways that take connections.
    """

    servers: Servers
    crew: Crew
    testimony: Testimony
    dice: Random
    live: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    held: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    looked_at: float = 0.0
    open_doors: set[str] = field(default_factory=set)
    locks: dict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))

    @property
    def running(self) -> frozenset[str]:
        """Jobs that some worker has in hand."""
        return frozenset(self.live["running"])

    @property
    def backlog(self) -> int:
        """Jobs without an end."""
        return sum(map(len, self.live.values()))

    async def look(self) -> None:
        """Look at PostgreSQL itself, a few times a second, for ever."""
        connection: asyncpg.Connection[asyncpg.Record] | None = None
        while True:
            try:
                connection = connection or await self.servers.postgres()
                self._note(await connection.fetch(LIVE))
            except AWAY:
                if connection is not None:
                    connection.terminate()
                connection = None
            await asyncio.sleep(LOOK_S)

    def _note(self, rows: list[asyncpg.Record]) -> None:
        live: defaultdict[str, set[str]] = defaultdict(set)
        held: defaultdict[str, set[str]] = defaultdict(set)
        for job_id, state, worker in rows:
            live[state].add(job_id)
            if state == "running" and worker:
                held[worker].add(job_id)
        self.live, self.held, self.looked_at = live, held, time.monotonic()

    async def jobs(
        self, states: Iterable[str], *, worker: str | None = None, among: Iterable[str] | None = None
    ) -> frozenset[str]:
        """Jobs that PostgreSQL has in one of these states at this moment; none while it is away."""
        asked = None if among is None else list(among)
        try:
            connection = await self.servers.postgres()
            try:
                rows = await connection.fetch(IN_STATE, list(states), worker, asked)
            finally:
                connection.terminate()
        except AWAY:
            return frozenset()
        return frozenset(row["id"] for row in rows)

    async def until(self, find: Callable[[], Awaitable[T | None]]) -> T | None:
        """What the call finds, as soon as it finds something; None when it does not in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while not (found := await find()):
                    await asyncio.sleep(AGAIN_S)
                return found
        return None

    def busy_worker(self, *, engine: bool = False) -> Member | None:
        """One that has jobs in hand; with `engine` one whose engine is up as well."""
        busy = [each for each in self.crew.workers if each.pid and not each.paused and self.held[each.worker]]
        busy = [each for each in busy if not engine or each.engines()]
        return self.dice.choice(busy) if busy else None

    async def knock(self) -> None:
        """See which gateways take connections, once a second, for ever."""
        while True:
            self.open_doors = {each.url for each in self.crew.gateways if await _takes_connections(each)}
            await asyncio.sleep(1)

    def busy_gateway(self) -> Member | None:
        """One where somebody follows a job, while every other one is up: with none nobody can resume."""
        if len(self.open_doors) < len(self.crew.gateways):
            return None
        busy = [each for each in self.crew.gateways if each.pid and self.testimony.watching(each.url)]
        return self.dice.choice(busy) if busy else None


async def _takes_connections(gateway: Member) -> bool:
    try:
        async with asyncio.timeout(2):
            _, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2]))
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
