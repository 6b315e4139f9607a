"""One run: servers, crew, load, faults; then peace, and the judgement."""

from __future__ import annotations

import asyncio
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from shared.catalog import write_index
from tests.chaos import books
from tests.chaos.arena import Arena
from tests.chaos.books import Row
from tests.chaos.checker import TERMINAL, Verdict, judge
from tests.chaos.crew import Crew
from tests.chaos.faults import strike
from tests.chaos.load import Load
from tests.chaos.plan import Appointment, Plan, dice
from tests.chaos.servers import Servers
from tests.chaos.strikes import Strike, Tally, overlapping, tallies
from tests.chaos.subscribers import Subscribers
from tests.chaos.testimony import Subscription, Testimony
from tests.stack import ROOT, process_environment

HERE = Path(__file__).parent
PROGRESS_S = 5.0
GRACE_S = 10.0
"""For followers after the rows were read: twice what a missed push may take."""
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to."""

    verdict: Verdict
    faults: Mapping[str, Tally]
    overlap: float
    tracebacks: list[str]
    cpu_s: tuple[float, float]
    """Of this process; of all that it started and that has ended."""


class Run:
    """The parts of a run and what they have in common."""

    def __init__(self, seed: str, plan: Plan, say: Say, *, sabotage: str = "", keep: bool = False) -> None:
        self._seed = seed
        self._plan = plan
        self._say = say
        self._sabotage = sabotage
        self._keep = keep
        self._seen = Testimony()
        self._strikes: list[Strike] = []
        self._began = self._healed = time.monotonic()

    async def result(self) -> Result:
        """Do all of it; whatever happens, everything is stopped and removed."""
        async with self._folder() as folder, self._servers(folder) as servers:
            key = await asyncio.to_thread(self._prepare, folder, servers)
            await self._audited(servers)
            async with self._crew(folder, servers) as crew:
                arena = Arena(servers, crew, self._seen, dice(self._seed, "victims"))
                rows = await self._drive(arena, key)
            return await self._judged(folder, servers, crew, rows)

    @asynccontextmanager
    async def _folder(self) -> AsyncIterator[Path]:
        folder = Path(tempfile.mkdtemp(prefix="leveret-chaos-", dir="/var/tmp"))  # other accounts reach it
        folder.chmod(0o755)
        try:
            yield folder
        finally:
            if self._keep:
                self._say(f"the logs are in {folder}")
            else:
                shutil.rmtree(folder, ignore_errors=True)

    @asynccontextmanager
    async def _servers(self, folder: Path) -> AsyncIterator[Servers]:
        place = folder / "servers"
        place.mkdir(mode=0o755)
        servers = Servers(place)
        try:
            await servers.start(self._seed)
            yield servers
        finally:
            await servers.stop()

    @asynccontextmanager
    async def _crew(self, folder: Path, servers: Servers) -> AsyncIterator[Crew]:
        crew = Crew(folder, servers.settings, self._plan.slots, self._sabotage)
        try:
            await crew.start()
            yield crew
        finally:
            servers.calm()
            await crew.stop()

    def _prepare(self, folder: Path, servers: Servers) -> str:
        """The catalog, the tables and an API key; returns the key."""
        shutil.copytree(HERE / "models", folder / "catalog", ignore=shutil.ignore_patterns("__pycache__"))
        write_index(folder / "catalog")
        _product(servers, "shared.adapters.store.migrate")
        create = ("create", "--tenant", "chaos", "--role", "operator", "--name", "chaos")
        return _product(servers, "gateway.keys", *create).strip()

    async def _audited(self, servers: Servers) -> None:
        connection = await servers.postgres()
        try:
            await books.install(connection)
        finally:
            await connection.close(timeout=5)

    async def _drive(self, arena: Arena, key: str) -> Mapping[str, Row]:
        """The run itself; returns the jobs as they were when their time was up, the product still at work."""
        urls = [each.url for each in arena.crew.gateways]
        subscribers = Subscribers(
            urls, key, self._seen, dice(self._seed, "subscribers"), restless=self._plan.restless
        )
        load = Load(urls, key, self._seen, subscribers, room=self._room(arena), dice=dice(self._seed, "load"))
        submitting = asyncio.create_task(load.run(self._plan.clients, self._plan.rate))
        looking = [asyncio.create_task(work) for work in (arena.look(), arena.knock(), self._tell(arena))]
        try:
            await self._act(arena)
            load.stop()
            await self._settle(arena, submitting)
            rows = await self._rows(arena.servers)
            await self._grace(rows)
            return rows
        finally:
            for task in (submitting, *looking):
                task.cancel()
            await asyncio.gather(submitting, *looking, return_exceptions=True)
            await load.close()
            await subscribers.close()

    async def _act(self, arena: Arena) -> None:
        """Every fault; returns when the last one is over, and the time of the load."""
        self._began = time.monotonic()
        async with asyncio.TaskGroup() as faults:
            for appointment in self._plan.appointments:
                faults.create_task(self._strike(arena, appointment))
            faults.create_task(asyncio.sleep(self._plan.seconds))
        arena.servers.calm()

    async def _strike(self, arena: Arena, appointment: Appointment) -> None:
        await asyncio.sleep(appointment.at_s)
        done = await strike(arena, appointment.kind)
        self._healed = time.monotonic()
        self._strikes.append(done)
        aimed = "all in flight" if done.aimed is None else f"{len(done.aimed)} jobs"
        self._say(f"{self._at()} {done.kind}: {done.hits} hits, {aimed}, {done.healed - done.began:.1f} s")

    async def _settle(self, arena: Arena, submitting: asyncio.Task[None]) -> None:
        """Until all is known and has ended, or the time since the last fault was over is up."""
        stopped = time.monotonic()
        while (now := time.monotonic()) < self._healed + self._plan.settle_s:
            ended = arena.looked_at > stopped and not arena.backlog and not _waiting(self._seen)
            if ended and submitting.done():
                submitting.result()
                break
            await asyncio.sleep(0.1)
        self._say(f"{self._at()} judged {now - self._healed:.1f} s after the last fault was over")

    async def _rows(self, servers: Servers) -> Mapping[str, Row]:
        connection = await servers.postgres()
        try:
            return await books.read_rows(connection)
        finally:
            await connection.close(timeout=5)

    async def _grace(self, rows: Mapping[str, Row]) -> None:
        """Who follows a job that has ended in time may be told of it a moment later."""
        ended = {row.id for row in rows.values() if row.state in TERMINAL}
        until = time.monotonic() + GRACE_S
        while any(each.job_id in ended for each in _waiting(self._seen)) and time.monotonic() < until:
            await asyncio.sleep(0.1)

    async def _judged(self, folder: Path, servers: Servers, crew: Crew, rows: Mapping[str, Row]) -> Result:
        connection = await servers.postgres()
        try:
            read = await books.read(connection, servers.direct, folder / "executions.log", rows)
        finally:
            await connection.close(timeout=5)
        return Result(
            verdict=judge(self._seen, read),
            faults=tallies(self._strikes, read),
            overlap=overlapping(self._strikes, read),
            tracebacks=crew.failures(),
            cpu_s=(_cpu_s(resource.RUSAGE_SELF), _cpu_s(resource.RUSAGE_CHILDREN)),
        )

    def _room(self, arena: Arena) -> Callable[[], asyncio.Future[None]]:
        async def room() -> None:
            while arena.backlog > self._plan.backlog:
                await asyncio.sleep(0.1)

        return lambda: asyncio.ensure_future(room())

    async def _tell(self, arena: Arena) -> None:
        while True:
            await asyncio.sleep(PROGRESS_S)
            seen = self._seen
            self._say(
                f"{self._at()} submitted {len(seen.submissions)} accepted {seen.accepted}"
                f" live {arena.backlog} (running {len(arena.live['running'])})"
                f" watching {len(seen.watching())} {_memory_mib()} MiB"
            )

    def _at(self) -> str:
        return f"[{time.monotonic() - self._began:6.1f} s]"


def _waiting(seen: Testimony) -> list[Subscription]:
    return [each for each in seen.subscriptions if not each.ended]


def _memory_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _cpu_s(whose: int) -> float:
    used = resource.getrusage(whose)
    return used.ru_utime + used.ru_stime


def _product(servers: Servers, module: str, *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        check=True, cwd=ROOT, timeout=60, env=process_environment(servers.direct), capture_output=True,
        text=True,
    ).stdout  # fmt: skip
