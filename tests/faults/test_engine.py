"""Engines that segfault, run out of memory or hang. One attempt of one job is what each may cost.

An engine killed from outside, and a job that loses every engine so: `tests/e2e/test_worker_faults.py`.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from itertools import pairwise
from uuid import UUID

import pytest

from gateway.client import AsyncClient, JobFailed
from gateway.client.jobs import AsyncJob
from tests import stack as servers
from tests.e2e.processes import Gate, WorkerProcess
from tests.faults.ground import Ground
from tests.faults.memory_group import MemoryGroup, memory_group
from tests.faults.scene import MODEL, QUEUE, Scene, scene

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

NEIGHBOURS = 4
LIMIT_BYTES = 200 << 20
HANG_S = 3.0
"""Published: a hang ends so long after its job's time limit."""
AGAIN_S = 10.0
"""What is published for a killed worker's job holds for a killed engine's: its backoff is shorter."""


@pytest.fixture(scope="module")
async def stage(
    ground: Ground, stack_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Scene]:
    async with scene(ground, stack_env, tmp_path_factory.mktemp("engine")) as opened:
        yield opened


@pytest.fixture(scope="module")
def hands(stage: Scene) -> Iterator[WorkerProcess]:
    """A worker with two jobs in hand: the neighbours are there when an engine dies."""
    with stage.house.worker(QUEUE, slots="2") as started:
        yield started


async def neighbours(client: AsyncClient) -> list[AsyncJob]:
    return [await client.submit(MODEL, note=number, seconds=0.05) for number in range(NEIGHBOURS)]


async def unharmed(stage: Scene, jobs: list[AsyncJob]) -> None:
    """All succeeded at their first attempt."""
    for job in jobs:
        await job.wait(timeout_s=60)
        assert await stage.books.attempts(job.id) == [(1, "succeeded")]


async def started_again(stage: Scene, job: AsyncJob) -> float:
    """Seconds from the end of an attempt to the begin of the next, the worst."""
    rows = await stage.behind.database.read(
        "select started_at, finished_at from attempts where job_id = $1 order by fence", UUID(job.id)
    )
    waits = [new["started_at"] - old["finished_at"] for old, new in pairwise(rows)]
    return float(max(waits).total_seconds())


async def poison_ends(stage: Scene, job: AsyncJob, word: str) -> None:
    """It failed with its evidence, after all its attempts."""
    with pytest.raises(JobFailed) as failed:
        await job.wait(timeout_s=60)
    assert failed.value.code == "worker_lost"
    outcomes = await stage.books.attempts(job.id)
    assert outcomes == [(1, "waiting"), (2, "waiting"), (3, "failed")]
    attempts = (await stage.client.logs(job.id))["attempts"]
    assert [word in attempt["error"]["message"] for attempt in attempts] == [True] * 3
    assert all("running in" in attempt["log"] for attempt in attempts)


async def test_a_job_that_segfaults_every_time_fails_alone(
    stage: Scene, hands: WorkerProcess, gate: Gate, measured: list[str]
) -> None:
    before = await neighbours(stage.client)
    poison = await stage.client.submit(MODEL, note="poison", how="segfault", gate=str(gate.path))
    after = await neighbours(stage.client)
    await gate.until_runs(1)
    for job in before:  # one whose outputs were being written would be taken for the poison
        await job.wait(timeout_s=60)
    gate.open()
    await poison_ends(stage, poison, "SIGSEGV")
    await unharmed(stage, before + after)
    assert hands.process.poll() is None
    tally = await stage.counted([job.id for job in [poison, *before, *after]], runs=3 + 2 * NEIGHBOURS)
    took = await started_again(stage, poison)
    measured.append(f"segfault at every attempt: started again after {took:.1f} s (<= {AGAIN_S:g}), {tally}")
    assert took <= AGAIN_S


@pytest.fixture
def little_memory() -> Iterator[MemoryGroup]:
    """Where the kernel ends what takes too much."""
    with ExitStack() as stack:
        try:
            group = stack.enter_context(memory_group(LIMIT_BYTES))
        except OSError as refused:  # a limit of the address space would kill nobody
            servers.skip_or_fail(f"no memory cgroup can be made here: {refused}")
        yield group


async def test_an_engine_that_the_kernel_kills_for_its_memory_costs_that_attempt(
    stage: Scene, hands: WorkerProcess, gate: Gate, little_memory: MemoryGroup, measured: list[str]
) -> None:
    # Given a job that takes more memory than its engine may have
    job = await stage.client.submit(MODEL, note="large", how="hoard", gate=str(gate.path), max_attempts=2)
    others = await neighbours(stage.client)
    engine = await gate.until_runs(1)
    little_memory.take(engine)
    # When it does, and its second engine has no limit
    gate.open()
    await job.wait(timeout_s=60)
    # Then the kernel killed the first one
    assert await stage.books.attempts(job.id) == [(1, "waiting"), (2, "succeeded")]
    first = (await stage.client.logs(job.id))["attempts"][0]
    assert "SIGKILL" in first["error"]["message"]
    assert little_memory.killed() == 1
    await unharmed(stage, others)
    assert hands.process.poll() is None
    tally = await stage.counted([job.id, *(each.id for each in others)], runs=2 + NEIGHBOURS)
    took = await started_again(stage, job)
    told = f"started again after {took:.1f} s (<= {AGAIN_S:g})"
    measured.append(f"engine killed by the kernel for its memory: {told}, {tally}")
    assert took <= AGAIN_S


async def test_a_job_that_the_kernel_kills_every_time_fails_alone(
    stage: Scene, hands: WorkerProcess, gate: Gate, little_memory: MemoryGroup, measured: list[str]
) -> None:
    # Given a worker in whose group every engine is born, and one engine that is there already
    job = await stage.client.submit(MODEL, note="larger", how="hoard", gate=str(gate.path), max_attempts=3)
    others = await neighbours(stage.client)
    little_memory.take(await gate.until_runs(1))
    little_memory.take(hands.pid)
    # When its job takes too much, again and again
    gate.open()
    await poison_ends(stage, job, "SIGKILL")
    # Then each time the kernel killed that engine, and nobody else
    assert little_memory.killed() == 3
    assert len(set(gate.runs())) == 3
    await unharmed(stage, others)
    assert hands.process.poll() is None
    tally = await stage.counted([job.id, *(each.id for each in others)], runs=3 + NEIGHBOURS)
    took = await started_again(stage, job)
    told = f"started again after {took:.1f} s (<= {AGAIN_S:g})"
    measured.append(f"engine killed by the kernel at every attempt: {told}, {tally}")
    assert took <= AGAIN_S


@pytest.mark.parametrize("how", ["busy", "stopped"])
async def test_a_hang_ends_at_its_time_limit_and_costs_its_own_job(
    stage: Scene, hands: WorkerProcess, gate: Gate, how: str, measured: list[str]
) -> None:
    limit_s = 2.0
    job = await stage.client.submit(MODEL, note=how, how="hang", gate=str(gate.path), timeout_s=limit_s)
    others = await neighbours(stage.client)
    engine = await gate.until_runs(1)
    # When it computes for ever, or does not even get the processor
    began = time.monotonic()
    if how == "stopped":
        os.kill(engine, signal.SIGSTOP)
    gate.open()
    with pytest.raises(JobFailed) as failed:
        await job.wait(timeout_s=60)
    late = time.monotonic() - began - limit_s
    # Then it is killed, once, and those who waited for its engine go on
    assert failed.value.code == "timeout"
    assert await stage.books.attempts(job.id) == [(1, "failed")]
    await unharmed(stage, others)
    assert hands.process.poll() is None
    tally = await stage.counted([job.id, *(each.id for each in others)], runs=1 + NEIGHBOURS)
    measured.append(f"{how} engine: ended {late:.1f} s after its time limit (<= {HANG_S:g}), {tally}")
    assert late <= HANG_S
