"""Every fault of the run: what it does, and whom it hits. A fault waits for a victim before it strikes."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import NamedTuple

import aio_pika

from tests.chaos.arena import Arena
from tests.chaos.crew import Member
from tests.chaos.proxy import FaultProxy, Weather
from tests.chaos.strikes import IN_FLIGHT, QUEUED, RUNNING, Strike
from tests.chaos.testimony import Subscription

LEASE_LOST_S = 28.0
"""A pause longer than the lease of 20 s and the relay's next tick."""
QUEUE = "leveret.chaos"

LANDING_S = 0.3
"""Until what a worker had sent when it was stopped is in PostgreSQL, also while that is slow."""

Fault = Callable[[Arena, str], Awaitable[Strike]]
Followed = tuple[tuple[Subscription, ...], frozenset[str]]


class Aim(NamedTuple):
    """The rest of a strike, as its server decides it (see `Strike`)."""

    jobs: frozenset[str]
    watchers: tuple[Subscription, ...]
    aimed: frozenset[str] | None
    suits: frozenset[str]


def _nobody(kind: str) -> Strike:
    """A fault that found no victim."""
    return Strike(kind, time.time(), time.time(), 0)


async def _catch(arena: Arena, *, engine: bool) -> tuple[Member, frozenset[str]] | None:
    """A worker that stands still now, and the jobs that it has in hand while it does."""
    worker = arena.busy_worker(engine=engine)
    if worker is None or not worker.stop():
        return None
    jobs: frozenset[str] = frozenset()
    try:
        await asyncio.sleep(LANDING_S)
        if not engine or worker.engines():  # it may have ended by itself
            jobs = await arena.jobs(RUNNING, worker=worker.worker)
    finally:
        if not jobs:
            worker.go_on()
    return (worker, jobs) if jobs else None


async def _strike_worker(
    arena: Arena, kind: str, *, blow: Callable[[Member], int], seconds: float = 0.0
) -> Strike:
    """Stop a worker with jobs in hand, do this to it, let it go on after a while."""
    caught = await arena.until(partial(_catch, arena, engine=blow is _kill_engines))
    if caught is None:
        return _nobody(kind)
    worker, jobs = caught
    began = time.time()
    try:
        hits = blow(worker)
        await asyncio.sleep(seconds)
    finally:
        worker.go_on()
    return Strike(kind, began, began + seconds, hits, jobs, suits=RUNNING, aimed=jobs)


def _kill(worker: Member) -> int:
    return int(worker.signal(signal.SIGKILL))


def _terminate(worker: Member) -> int:
    return int(worker.signal(signal.SIGTERM))


def _leave_stopped(worker: Member) -> int:
    return int(worker.paused)


def _kill_engines(worker: Member) -> int:
    hits = 0
    for pid in worker.engines():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            hits += 1
    return hits


async def _followed_at(arena: Arena) -> tuple[Member, Followed] | None:
    gateway = arena.busy_gateway()
    followed = await _followed(arena, gateway.url) if gateway else None
    return (gateway, followed) if gateway and followed else None


async def _signal_gateway(arena: Arena, kind: str, *, number: signal.Signals) -> Strike:
    found = await arena.until(partial(_followed_at, arena))
    if found is None:
        return _nobody(kind)
    gateway, (watchers, jobs) = found
    arena.open_doors.discard(gateway.url)
    hits, began = len(watchers) + arena.testimony.requests[gateway.url], time.time()
    gateway.signal(number)
    return Strike(kind, began, began, hits, watchers=watchers, aimed=jobs)


async def _followed(arena: Arena, url: str = "") -> Followed | None:
    """Who follows a job (there), and those of their jobs that are in flight; None without such a job."""
    watchers = tuple(arena.testimony.watching(url))
    jobs = await arena.jobs(IN_FLIGHT, among=[each.job_id for each in watchers]) if watchers else None
    return (watchers, jobs) if jobs else None


async def _aim(arena: Arena, server: str, suits: frozenset[str]) -> Aim | None:
    """Whom a fault of this server meets: of Redis the jobs that are followed, else all that suit."""
    if server == "redis":
        found = await _followed(arena)
        return Aim(arena.running, *found, IN_FLIGHT) if found else None
    return Aim(arena.running, (), None, suits) if await arena.jobs(suits) else None


async def _restart(
    arena: Arena, kind: str, *, server: str, number: signal.Signals, suits: frozenset[str] = IN_FLIGHT,
    wipe: bool = False,
) -> Strike:  # fmt: skip
    aim = await arena.until(partial(_aim, arena, server, suits))
    if aim is None:
        return _nobody(kind)
    began = time.time()
    await arena.servers.kill(server, number)
    if wipe:
        arena.servers.wipe(server)
    await arena.servers.restart(server)
    return Strike(kind, began, time.time(), 1, *aim)


async def _weather(
    arena: Arena, kind: str, *, server: str, weather: Weather, seconds: float,
    suits: frozenset[str] = RUNNING,
) -> Strike:  # fmt: skip
    """Hit is whoever the proxy struck meanwhile; of a black hole whoever was connected."""
    aim = await arena.until(partial(_aim, arena, server, suits))
    if aim is None:
        return _nobody(kind)
    proxy, began = arena.servers.proxies[server], time.time()
    before, open_ = proxy.struck, proxy.open if weather.black_hole else 0

    async def struck() -> bool:
        return bool(open_) or proxy.struck > before

    proxy.change(weather)
    try:
        await asyncio.sleep(seconds)
        await arena.until(struck)
    finally:
        proxy.calm()
    return Strike(kind, began, time.time(), proxy.struck - before + open_, *aim)


async def _cut(
    arena: Arena, kind: str, *, server: str, half: bool = False, refuse_s: float = 0.0
) -> Strike:  # fmt: skip
    """Everybody is cut off, and perhaps nobody gets in again for a while."""
    proxy = arena.servers.proxies[server]

    async def connected() -> Aim | None:
        aim = await _aim(arena, server, IN_FLIGHT)
        return aim if proxy.open else None

    aim = await arena.until(connected)
    if aim is None:
        return _nobody(kind)
    began = time.time()
    hits = proxy.half_close_all() if half else proxy.cut_all()
    if refuse_s:
        await _refuse(proxy, refuse_s)
    return Strike(kind, began, time.time(), hits, *aim)


async def _refuse(proxy: FaultProxy, seconds: float) -> None:
    proxy.change(Weather(refuse=True))
    try:
        await asyncio.sleep(seconds)
    finally:
        proxy.calm()


async def _delete_queue(arena: Arena, kind: str) -> Strike:
    aim = await arena.until(partial(_aim, arena, "rabbitmq", QUEUED))
    began = time.time()
    with suppress(OSError, aio_pika.exceptions.AMQPError, TimeoutError):
        async with asyncio.timeout(10):
            connection = await aio_pika.connect(arena.servers.direct["LEVERET_RABBITMQ_URL"])
            async with connection:
                channel = await connection.channel()
                await channel.queue_delete(QUEUE)
                return Strike(kind, began, time.time(), 1, *aim) if aim else _nobody(kind)
    return _nobody(kind)


async def _end_sessions(arena: Arena, kind: str) -> Strike:
    aim = await arena.until(partial(_aim, arena, "postgresql", IN_FLIGHT))
    if aim is None:
        return _nobody(kind)
    connection = await arena.servers.postgres()
    began = time.time()
    try:
        ended = await connection.fetchval(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity"
            " where application_name like 'leveret-%'"
        )
    finally:
        await connection.close(timeout=5)
    return Strike(kind, began, began, ended, *aim)


async def _redis_command(arena: Arena, kind: str, *, command: str) -> Strike:
    async def blow() -> Strike | None:
        aim = await _aim(arena, "redis", IN_FLIGHT)
        if aim is None:
            return None
        began = time.time()
        async with arena.servers.redis() as redis:
            answer = await redis.execute_command(command)
        hits = int(answer) if isinstance(answer, int) else 1  # how many it killed, where it kills
        return Strike(kind, began, time.time(), hits, *aim) if hits else None

    return await arena.until(blow) or _nobody(kind)


SLOW = Weather(latency_s=(0.05, 0.25))
KINDS: dict[str, tuple[str, Fault]] = {
    "worker kill -9": ("", partial(_strike_worker, blow=_kill)),
    "worker SIGTERM": ("", partial(_strike_worker, blow=_terminate)),
    "worker paused 4 s": ("pause", partial(_strike_worker, blow=_leave_stopped, seconds=4)),
    "worker paused 28 s": (
        "pause",
        partial(_strike_worker, blow=_leave_stopped, seconds=LEASE_LOST_S),
    ),
    "engine kill -9": ("", partial(_strike_worker, blow=_kill_engines)),
    "gateway kill -9": ("gateways", partial(_signal_gateway, number=signal.SIGKILL)),
    "gateway SIGTERM": ("gateways", partial(_signal_gateway, number=signal.SIGTERM)),
    "broker kill -9": ("rabbitmq", partial(_restart, server="rabbitmq", number=signal.SIGKILL)),
    "broker wiped": ("rabbitmq", partial(_restart, server="rabbitmq", number=signal.SIGKILL, wipe=True)),
    "queue deleted": ("rabbitmq", _delete_queue),
    "broker connections cut": ("rabbitmq", partial(_cut, server="rabbitmq")),
    "broker half-closed": ("rabbitmq", partial(_cut, server="rabbitmq", half=True)),
    "broker refuses 3 s": ("rabbitmq", partial(_cut, server="rabbitmq", refuse_s=3)),
    "broker black hole 11 s": (  # longer than a gateway's heartbeats wait: its calls in flight are rejected
        "rabbitmq",
        partial(_weather, server="rabbitmq", weather=Weather(black_hole=True), seconds=11, suits=IN_FLIGHT),
    ),
    "postgres restart": (
        "postgresql",
        partial(_restart, server="postgresql", number=signal.SIGQUIT, suits=RUNNING),
    ),
    "postgres sessions killed": ("postgresql", _end_sessions),
    "postgres black hole 15 s": (
        "postgresql",
        partial(_weather, server="postgresql", weather=Weather(black_hole=True), seconds=15),
    ),
    "postgres answers cut": (
        "postgresql",
        partial(_weather, server="postgresql", weather=Weather(cut_after=(100, 20_000)), seconds=1.5),
    ),
    "postgres slow": ("postgresql", partial(_weather, server="postgresql", weather=SLOW, seconds=3)),
    "redis kill -9": ("redis", partial(_restart, server="redis", number=signal.SIGKILL)),
    "redis flushed": ("redis", partial(_redis_command, command="FLUSHALL")),
    "redis pub/sub killed": ("redis", partial(_redis_command, command="CLIENT KILL TYPE pubsub")),
    "redis black hole 8 s": (
        "redis",
        partial(_weather, server="redis", weather=Weather(black_hole=True), seconds=8),
    ),
    "redis half-closed": ("redis", partial(_cut, server="redis", half=True)),
    "s3 slow": ("seaweedfs", partial(_weather, server="seaweedfs", weather=SLOW, seconds=4)),
    "s3 answers 500": (
        "seaweedfs",
        partial(_weather, server="seaweedfs", weather=Weather(error_500=True), seconds=2.5),
    ),
    "s3 cut mid-body": (
        "seaweedfs",
        partial(_weather, server="seaweedfs", weather=Weather(cut_request=(200, 4000)), seconds=2.5),
    ),
}
"""By name: what it must not share with another fault at the same time, and how it strikes."""


async def strike(arena: Arena, kind: str) -> Strike:
    """Do one fault, alone on its server."""
    lock, fault = KINDS[kind]
    if not lock:
        return await fault(arena, kind)
    async with arena.locks[lock]:
        return await fault(arena, kind)
