"""Every fault of the run: what it does, and whom it hits. A fault waits for a victim before it strikes."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import aio_pika

from tests.chaos.arena import Arena
from tests.chaos.proxy import Weather
from tests.chaos.strikes import Strike

LEASE_LOST_S = 28.0
"""A pause longer than the lease of 20 s and the relay's next tick."""
QUEUE = "leveret.chaos"

Fault = Callable[[Arena, str], Awaitable[Strike]]


async def _signal_worker(arena: Arena, kind: str, *, number: signal.Signals) -> Strike:
    worker = await arena.until(arena.busy_worker)
    began = time.time()
    if worker is None:
        return Strike(kind, began, began, 0)
    jobs = frozenset(arena.held[worker.worker])
    worker.signal(number)
    return Strike(kind, began, began, len(jobs), jobs)


async def _pause_worker(arena: Arena, kind: str, *, seconds: float) -> Strike:
    worker = await arena.until(arena.busy_worker)
    began = time.time()
    if worker is None:
        return Strike(kind, began, began, 0)
    jobs = frozenset(arena.held[worker.worker])
    worker.paused = worker.signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        worker.paused = False
        worker.signal(signal.SIGCONT)
    return Strike(kind, began, time.time(), len(jobs), jobs)


async def _kill_engine(arena: Arena, kind: str) -> Strike:
    worker = await arena.until(partial(arena.busy_worker, engine=True))
    began = time.time()
    if worker is None:
        return Strike(kind, began, began, 0)
    jobs = frozenset(arena.held[worker.worker])
    for pid in worker.engines():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return Strike(kind, began, began, len(jobs), jobs)


async def _signal_gateway(arena: Arena, kind: str, *, number: signal.Signals) -> Strike:
    gateway = await arena.until(arena.busy_gateway)
    began = time.time()
    if gateway is None:
        return Strike(kind, began, began, 0)
    arena.open_doors.discard(gateway.url)
    watchers = tuple(arena.testimony.watching(gateway.url))
    victims = len(watchers) + arena.testimony.requests[gateway.url]
    gateway.signal(number)
    return Strike(kind, began, began, victims, watchers=watchers)


async def _restart(
    arena: Arena, kind: str, *, server: str, number: signal.Signals, wipe: bool = False
) -> Strike:
    hit = await arena.until(lambda: arena.in_flight) or frozenset()
    jobs, began, watchers = arena.running, time.time(), tuple(arena.testimony.watching())
    await arena.servers.kill(server, number)
    if wipe:
        arena.servers.wipe(server)
    await arena.servers.restart(server)
    watchers = watchers if server == "redis" else ()
    return Strike(kind, began, time.time(), len(hit), jobs, watchers)


async def _weather(arena: Arena, kind: str, *, server: str, weather: Weather, seconds: float) -> Strike:
    """A victim is whoever the proxy struck meanwhile."""
    await arena.until(lambda: arena.in_flight)
    proxy, jobs = arena.servers.proxies[server], arena.running
    began, before = time.time(), proxy.struck
    watchers = tuple(arena.testimony.watching()) if server == "redis" else ()
    open_ = proxy.open if weather.black_hole else 0
    proxy.change(weather)
    try:
        await asyncio.sleep(seconds)
        await arena.until(lambda: open_ or proxy.struck > before)
    finally:
        proxy.calm()
    return Strike(kind, began, time.time(), proxy.struck - before + open_, jobs, watchers)


async def _cut(arena: Arena, kind: str, *, server: str, half: bool = False) -> Strike:
    proxy = arena.servers.proxies[server]
    await arena.until(lambda: arena.in_flight and proxy.open)
    jobs, began = arena.running, time.time()
    watchers = tuple(arena.testimony.watching()) if server == "redis" else ()
    cut = proxy.half_close_all() if half else proxy.cut_all()
    return Strike(kind, began, began, cut, jobs, watchers)


async def _refuse(arena: Arena, kind: str, *, server: str, seconds: float) -> Strike:
    """Everybody is cut off and nobody gets in again for a while."""
    proxy = arena.servers.proxies[server]
    await arena.until(lambda: arena.in_flight and proxy.open)
    jobs, began = arena.running, time.time()
    cut = proxy.cut_all()
    proxy.change(Weather(refuse=True))
    try:
        await asyncio.sleep(seconds)
    finally:
        proxy.calm()
    return Strike(kind, began, time.time(), cut, jobs)


async def _delete_queue(arena: Arena, kind: str) -> Strike:
    hit = await arena.until(lambda: frozenset(arena.live["queued"])) or frozenset()
    jobs, began = arena.running, time.time()
    with suppress(OSError, aio_pika.exceptions.AMQPError, TimeoutError):
        async with asyncio.timeout(10):
            connection = await aio_pika.connect(arena.servers.direct["LEVERET_RABBITMQ_URL"])
            async with connection:
                channel = await connection.channel()
                await channel.queue_delete(QUEUE)
                return Strike(kind, began, time.time(), len(hit), jobs)
    return Strike(kind, began, time.time(), 0)


async def _end_sessions(arena: Arena, kind: str) -> Strike:
    await arena.until(lambda: arena.in_flight)
    jobs, began = arena.running, time.time()
    connection = await arena.servers.postgres()
    try:
        ended = await connection.fetchval(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity"
            " where application_name like 'leveret-%'"
        )
    finally:
        await connection.close(timeout=5)
    return Strike(kind, began, began, ended, jobs)


async def _redis_command(arena: Arena, kind: str, *, command: str) -> Strike:
    await arena.until(arena.testimony.watching)
    jobs, watchers, began = arena.running, tuple(arena.testimony.watching()), time.time()
    async with arena.servers.redis() as redis:
        await redis.execute_command(command)
    return Strike(kind, began, time.time(), len(watchers), jobs, watchers)


SLOW = Weather(latency_s=(0.05, 0.25))
KINDS: dict[str, tuple[str, Fault]] = {
    "worker kill -9": ("", partial(_signal_worker, number=signal.SIGKILL)),
    "worker SIGTERM": ("", partial(_signal_worker, number=signal.SIGTERM)),
    "worker paused 4 s": ("pause", partial(_pause_worker, seconds=4)),
    "worker paused 28 s": ("pause", partial(_pause_worker, seconds=LEASE_LOST_S)),
    "engine kill -9": ("", _kill_engine),
    "gateway kill -9": ("gateways", partial(_signal_gateway, number=signal.SIGKILL)),
    "gateway SIGTERM": ("gateways", partial(_signal_gateway, number=signal.SIGTERM)),
    "broker kill -9": ("rabbitmq", partial(_restart, server="rabbitmq", number=signal.SIGKILL)),
    "broker wiped": ("rabbitmq", partial(_restart, server="rabbitmq", number=signal.SIGKILL, wipe=True)),
    "queue deleted": ("rabbitmq", _delete_queue),
    "broker connections cut": ("rabbitmq", partial(_cut, server="rabbitmq")),
    "broker half-closed": ("rabbitmq", partial(_cut, server="rabbitmq", half=True)),
    "broker refuses 3 s": ("rabbitmq", partial(_refuse, server="rabbitmq", seconds=3)),
    "postgres restart": ("postgresql", partial(_restart, server="postgresql", number=signal.SIGQUIT)),
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
