"""Engines that segfault, run out of memory or hang. One attempt of one job is what each may cost.

An engine killed from outside, and a job that loses every engine so: `tests/e2e/test_worker_faults.py`.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from gateway.client import AsyncClient, JobFailed
from gateway.client.jobs import AsyncJob
from tests.e2e.processes import Gate, WorkerProcess
from tests.faults.ground import Ground
from tests.faults.scene import MODEL, QUEUE, Scene, scene

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

NEIGHBOURS = 4
MEMORY = Path("/sys/fs/cgroup/memory")
LIMIT_BYTES = 200 << 20


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
    stage: Scene, hands: WorkerProcess, measured: list[str]
) -> None:
    before = await neighbours(stage.client)
    poison = await stage.client.submit(MODEL, note="poison", how="segfault")
    after = await neighbours(stage.client)
    await poison_ends(stage, poison, "SIGSEGV")
    await unharmed(stage, before + after)
    assert hands.process.poll() is None
    tally = await stage.counted([job.id for job in [poison, *before, *after]], runs=3 + 2 * NEIGHBOURS)
    measured.append(f"segfault at every attempt: {tally}")


@pytest.fixture
def little_memory() -> Iterator[Path]:
    """A memory cgroup of our own, where the kernel ends what takes too much."""
    group = MEMORY / f"leveret-{uuid4()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(LIMIT_BYTES))
    except OSError as refused:
        pytest.skip(f"no memory cgroup here, and a limit of the address space kills nobody: {refused}")
    yield group
    for pid in (group / "tasks").read_text().split():  # the engine that came through alive
        (MEMORY / "tasks").write_text(pid)
    group.rmdir()


async def test_an_engine_that_the_kernel_kills_for_its_memory_costs_that_attempt(
    stage: Scene, hands: WorkerProcess, gate: Gate, little_memory: Path, measured: list[str]
) -> None:
    # Given a job that takes more memory than its engine may have
    job = await stage.client.submit(MODEL, note="large", how="hoard", gate=str(gate.path), max_attempts=2)
    others = await neighbours(stage.client)
    engine = await gate.until_runs(1)
    (little_memory / "cgroup.procs").write_text(str(engine))
    # When it does, and its second engine has no limit
    gate.open()
    began = time.monotonic()
    await job.wait(timeout_s=60)
    took = time.monotonic() - began
    # Then the kernel killed the first one
    assert await stage.books.attempts(job.id) == [(1, "waiting"), (2, "succeeded")]
    first = (await stage.client.logs(job.id))["attempts"][0]
    assert "SIGKILL" in first["error"]["message"]
    assert "oom_kill 1" in (little_memory / "memory.oom_control").read_text()
    await unharmed(stage, others)
    assert hands.process.poll() is None
    tally = await stage.counted([job.id, *(each.id for each in others)], runs=2 + NEIGHBOURS)
    measured.append(f"engine killed by the kernel for its memory: done {took:.1f} s later, {tally}")


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
    took = time.monotonic() - began
    # Then it is killed, once, and those who waited for its engine go on
    assert failed.value.code == "timeout"
    assert await stage.books.attempts(job.id) == [(1, "failed")]
    await unharmed(stage, others)
    assert hands.process.poll() is None
    tally = await stage.counted([job.id, *(each.id for each in others)], runs=1 + NEIGHBOURS)
    measured.append(f"{how} engine with a limit of {limit_s} s: ended after {took:.1f} s, {tally}")
    assert took <= limit_s + 3
