"""Redis killed, flushed, full, deaf or silent: jobs go on, sockets miss nothing, the gateway never stalls.

The same faults at the bus itself: `tests/contract/test_bus_faults.py`.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import redis.asyncio

from gateway.client.jobs import AsyncJob
from shared.events import Event, EventType, encode
from tests.chaos.proxy import Weather
from tests.e2e.processes import Gate, WorkerProcess
from tests.faults.ground import Ground
from tests.faults.scene import (
    MODEL,
    QUEUE,
    RESYNCED_S,
    STALL_S,
    TENANT,
    WHOLE,
    Scene,
    Seen,
    pulse,
    read,
    scene,
)
from tests.gateway_process import open_socket

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

SOCKETS = 5


@pytest.fixture(scope="module")
async def stage(
    ground: Ground, stack_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Scene]:
    async with scene(ground, stack_env, tmp_path_factory.mktemp("redis")) as opened:
        yield opened


@pytest.fixture(scope="module", autouse=True)
def hand(stage: Scene) -> Iterator[WorkerProcess]:
    with stage.house.worker(QUEUE) as started:
        yield started


@pytest.fixture
async def control(ground: Ground) -> AsyncIterator[redis.asyncio.Redis]:
    """Redis itself, by a way that no proxy is on."""
    async with redis.asyncio.from_url(ground.direct["LEVERET_REDIS_URL"], protocol=2) as client:
        yield client


@dataclass(slots=True)
class Watch:
    """Jobs with sockets on them, and all that these brought."""

    stage: Scene
    folder: Path
    seen: list[Seen] = field(default_factory=list)
    jobs: list[AsyncJob] = field(default_factory=list)

    @asynccontextmanager
    async def over(self) -> AsyncIterator[Gate]:
        """A job that runs, on sockets that brought its first two events; they are read to their end."""
        gate = Gate(self.folder / f"gate-{len(self.jobs)}")
        job = await self.stage.client.submit(MODEL, note=1, gate=str(gate.path))
        self.jobs.append(job)
        async with AsyncExitStack() as stack:
            stack.callback(gate.open)
            opened = [open_socket(self.stage.gateway.url, self.stage.key, job.id) for _ in range(SOCKETS)]
            sockets = [await stack.enter_async_context(each) for each in opened]
            mine = [Seen() for _ in sockets]
            self.seen += mine
            await asyncio.gather(*(read(*each, 2) for each in zip(sockets, mine, strict=True)))
            yield gate
            await asyncio.gather(*(read(*each) for each in zip(sockets, mine, strict=True)))

    async def whole_job(self) -> None:
        """One that is watched from its beginning to its end."""
        async with self.over() as gate:
            gate.open()

    async def judged(self, fault: str, alive: list[float]) -> str:
        """Hold everything seen against what is published; returns the worst of it."""
        assert [each.types for each in self.seen] == [WHOLE] * len(self.seen)
        assert [(each.seqs, each.code) for each in self.seen] == [([1, 2, 3], 1000)] * len(self.seen)
        tally = await self.stage.counted([job.id for job in self.jobs], runs=len(self.jobs))
        lag = max(lag for each in self.seen for lag in each.lags)
        worst = (
            f"Redis {fault}: pushed {lag:.2f} s after the commit (<= {RESYNCED_S:g}),"
            f" /livez after {max(alive):.2f} s (<= {STALL_S:g})"
        )
        assert lag <= RESYNCED_S, worst
        assert max(alive) <= STALL_S, worst
        return f"{worst}, {tally}"


@pytest.fixture
def watch(stage: Scene, tmp_path: Path) -> Watch:
    return Watch(stage, tmp_path)


async def test_redis_killed_and_started_again(
    stage: Scene, watch: Watch, ground: Ground, measured: list[str]
) -> None:
    async with pulse(stage.gateway) as alive:
        async with watch.over() as gate:
            await ground.kill("redis", signal.SIGKILL)
            gate.open()  # it ends, and is told, while there is no Redis
        try:
            await watch.whole_job()
            assert (await stage.client.read_job(watch.jobs[0].id))["state"] == "succeeded"
        finally:
            await ground.restart("redis")
        await watch.whole_job()
    measured.append(await watch.judged("killed and started again", alive))


async def test_redis_flushed(
    stage: Scene, watch: Watch, control: redis.asyncio.Redis, measured: list[str]
) -> None:
    async with pulse(stage.gateway) as alive:
        async with watch.over() as gate:
            await control.flushall()
            gate.open()
        assert await control.exists(_kept(watch.jobs[0]))
        before = await stage.client.read_job(watch.jobs[0].id)
        await control.flushall()
        after = await stage.client.read_job(watch.jobs[0].id)
        await watch.whole_job()
    assert _unsigned(after) == _unsigned(before)
    measured.append(await watch.judged("flushed", alive))


def _kept(job: AsyncJob) -> str:
    return f"leveret:{TENANT}:job:{job.id}"


def _unsigned(job: Any) -> Any:
    """Without the addresses, whose signatures differ from one look to the next."""
    outputs = {name: {**output, "url": ""} for name, output in job["outputs"].items()}
    return {**job, "outputs": outputs}


async def test_redis_full(
    stage: Scene, watch: Watch, control: redis.asyncio.Redis, measured: list[str]
) -> None:
    async with pulse(stage.gateway) as alive:
        async with watch.over() as gate:
            await control.config_set("maxmemory-policy", "noeviction")
            await control.config_set("maxmemory", 1)
            try:
                gate.open()
                await watch.whole_job()
            finally:
                await control.config_set("maxmemory", 0)
        assert not await control.exists(_kept(watch.jobs[0]))
        assert (await stage.client.read_job(watch.jobs[0].id))["state"] == "succeeded"
        await watch.whole_job()
        assert await control.exists(_kept(watch.jobs[-1]))
    measured.append(await watch.judged("full", alive))


async def test_redis_pubsub_connections_killed_over_and_over(
    stage: Scene, watch: Watch, control: redis.asyncio.Redis, measured: list[str]
) -> None:
    killed = 0
    async with pulse(stage.gateway) as alive:
        for _ in range(5):
            async with watch.over() as gate:
                killed += await control.client_kill_filter(_type="pubsub")
                gate.open()
    assert killed >= 5
    measured.append(await watch.judged(f"pub/sub connections killed ({killed})", alive))


async def test_redis_output_buffer_overrun(
    stage: Scene, watch: Watch, control: redis.asyncio.Redis, measured: list[str]
) -> None:
    async with pulse(stage.gateway) as alive:
        async with watch.over() as gate:
            before = _losses(stage)
            await control.config_set("client-output-buffer-limit", "pubsub 65536 32768 1")
            try:
                # One script publishes more than Redis keeps for a client before it can send anything
                await control.eval(
                    "for i = 1, 400 do redis.call('publish', KEYS[1], ARGV[1]) end",
                    1,
                    f"leveret:events:{TENANT}",
                    _progress(watch.jobs[0]),
                )
                gate.open()
                await watch.whole_job()
            finally:
                await control.config_set("client-output-buffer-limit", "pubsub 33554432 8388608 60")
        await watch.whole_job()
    assert _losses(stage) > before
    measured.append(await watch.judged("output buffer overrun", alive))


def _progress(job: AsyncJob) -> bytes:
    data = {"progress": 0.5, "padding": "x" * 4000}
    return encode(Event(seq=2, job_id=UUID(job.id), type=EventType.PROGRESS, at=datetime.now(UTC), data=data))


def _losses(stage: Scene) -> int:
    return stage.gateway.log.read_text().count('"bus.listener_lost"')


async def test_the_pulse_feels_a_stall(stage: Scene, watch: Watch, measured: list[str]) -> None:
    # When nothing runs in the gateway for twice what is published
    async with pulse(stage.gateway) as alive, watch.over() as gate:
        stage.gateway.process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(2 * STALL_S)
        finally:
            stage.gateway.process.send_signal(signal.SIGCONT)
        gate.open()
    # Then the pulse tells, as it would of a loop that waits for Redis
    tally = await stage.counted([job.id for job in watch.jobs], runs=1)
    measured.append(f"gateway stopped for {2 * STALL_S:g} s: /livez ≤ {max(alive):.2f} s, {tally}")
    assert max(alive) > 1.5 * STALL_S


@pytest.mark.parametrize("for_s", [12, pytest.param(60, marks=pytest.mark.slow)])
async def test_redis_behind_a_black_hole(
    stage: Scene, watch: Watch, ground: Ground, for_s: int, measured: list[str]
) -> None:
    async with pulse(stage.gateway) as alive:
        try:
            async with asyncio.timeout(for_s + 30):
                async with watch.over() as gate:
                    await ground.change("redis", Weather(black_hole=True))
                    ended = asyncio.get_running_loop().time() + for_s
                    gate.open()
                while asyncio.get_running_loop().time() < ended:
                    await watch.whole_job()
        finally:
            await ground.calm()
        await watch.whole_job()
    measured.append(await watch.judged(f"behind a black hole for {for_s} s", alive))
