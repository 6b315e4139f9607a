"""Workers that die at one exact point, fall silent, are cut off, or are sent away again and again."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.client import AsyncJob
from tests.e2e.processes import PYTHON, Gate, House, WorkerProcess, until
from tests.faults.conftest import Stage
from tests.faults.namespace import namespace
from tests.gateway_process import GatewayProcess

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

KILLED_S = 10
"""Published: a killed worker's job starts again within this, given a free slot."""
SILENT_S = 35
"""Published: a silently vanished worker's does."""
PAUSE_S = 40

LOST = [(1, "worker_lost"), (2, "succeeded")]
POINTS = {
    "after claim": (LOST, 1),
    "after store": (LOST, 2),
    "after commit": ([(1, "succeeded")], 1),
    "before ack": ([(1, "succeeded")], 1),
}
"""Where a worker dies, the attempts that its job then takes, and how often its algorithm begins."""


@asynccontextmanager
async def workers(
    house: House, number: int, queue: str = "faults", **how: Any
) -> AsyncIterator[list[WorkerProcess]]:
    """Ready ones, started at once, while this loop goes on."""
    with ExitStack() as stack:
        started = [stack.enter_context(house.worker(queue, ready=False, **how)) for _ in range(number)]
        for worker in started:
            await worker.until_logged("worker.ready")
        yield started


async def holder(living: list[WorkerProcess], job_id: str, attempt: int = 1) -> WorkerProcess:
    def claimed() -> WorkerProcess | None:
        held = (each for each in living if each.logged("job.claimed", job_id=job_id, attempt=attempt))
        return next(held, None)

    found: WorkerProcess = await until(claimed, why=f"attempt {attempt} is claimed")
    return found


def claimed_at(worker: WorkerProcess, job_id: str, attempt: int) -> float:
    line = worker.logged("job.claimed", job_id=job_id, attempt=attempt)
    assert line is not None
    return datetime.fromisoformat(line["timestamp"]).timestamp()


async def as_told(job: AsyncJob) -> dict[str, Any]:
    """The job as its owner reads it, but for the links, which are signed anew each time."""
    told = dict((await job.refresh()).raw)
    told["outputs"] = {name: output["uri"] for name, output in told["outputs"].items()}
    return told


@pytest.fixture(scope="module")
def rescuer(house: House, gateway: GatewayProcess) -> Iterator[WorkerProcess]:
    """A worker of the queue of `lonely`; no test may leave it busy."""
    assert gateway.url
    with house.worker("apart") as started:
        yield started


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[Gate]:
    """Holds the rescuer until it has to help."""
    held = Gate(tmp_path / "busy")
    yield held
    held.open()


@pytest.mark.parametrize("point", POINTS)
async def test_killed_at(point: str, stage: Stage, gate: Gate, busy: Gate, rescuer: WorkerProcess) -> None:
    attempts, runs = POINTS[point]
    await stage.relay_may_judge()
    died = gate.path.with_name("died")
    before = await stage.client.submit("lonely", note="before", params=busy.params)
    await busy.until_runs(1)
    gate.open()
    # Given a worker that dies at the point, and another one that has a free slot from then on
    dying = (*PYTHON, "tests.faults.killed_at", point, str(died))
    async with workers(stage.house, 1, queue="apart", command=dying) as (it,):
        job = await stage.client.submit("lonely", note=point, params=gate.params)
        await until(lambda: it.process.poll() is not None, why="the worker dies")
        busy.open()
        told = [event.type async for event in job.events(after=0) if event.type != "job.progress"]
        await before.wait()
    # Then the other one does what is left
    assert told.count("job.succeeded") == 1
    assert await stage.books.attempts(job.id) == attempts
    assert len(gate.runs()) == runs
    tally = await stage.counted([job.id, before.id], runs=len(attempts) + 1)
    if len(attempts) == 1:
        stage.measured.append(f"worker kill -9 {point}: not started again, {tally}")
        return
    took = claimed_at(rescuer, job.id, 2) - died.stat().st_mtime
    stage.measured.append(
        f"worker kill -9 {point}: started again after {took:.1f} s (<= {KILLED_S}), {tally}"
    )
    assert took <= KILLED_S


@pytest.mark.slow
async def test_sent_away_five_times(stage: Stage, gate: Gate) -> None:
    job = await stage.client.submit("doomed", note="patient", params=gate.params, max_attempts=1)
    async with workers(stage.house, 6, drain_s="0.2") as living:
        for run in range(1, 6):
            await gate.until_runs(run)
            held = next(each for each in living if each.logged("job.claimed", job_id=job.id))
            # When the worker that has the job has to go, and the job is in no hurry
            held.drain()
            assert await held.exit_code() == 0
            living.remove(held)
        await gate.until_runs(6)
        gate.open()
        await job.wait()
    # Then no attempt was spent on it
    assert await stage.books.attempts(job.id) == [*[(1, "released")] * 5, (1, "succeeded")]
    tally = await stage.counted([job.id], runs=6)
    stage.measured.append(f"worker SIGTERM five times on one job: 5 releases, 1 attempt spent of 1, {tally}")


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_paused(stage: Stage, gate: Gate) -> None:
    await stage.relay_may_judge()
    async with workers(stage.house, 2) as both:
        job = await stage.client.submit("doomed", note="paused", params=gate.params)
        await gate.until_runs(1)
        paused = await holder(both, job.id)
        began = time.time()
        # When its worker is paused for longer than its lease, its engine not
        paused.process.send_signal(signal.SIGSTOP)
        await gate.until_runs(2)
        (other,) = (each for each in both if each is not paused)
        took = claimed_at(other, job.id, 2) - began
        gate.open()
        await job.wait()
        before = await as_told(job)
        await asyncio.sleep(PAUSE_S - (time.time() - began))
        # Then what it brings when it comes back counts for nothing
        paused.process.send_signal(signal.SIGCONT)
        await paused.until_logged("job.left", job_id=job.id, state="discarded")
        assert await as_told(job) == before
        assert await stage.books.attempts(job.id) == LOST
    tally = await stage.counted([job.id], runs=2)
    stage.measured.append(f"worker paused {PAUSE_S} s: redone after {took:.1f} s (<= {SILENT_S}), {tally}")
    assert took <= SILENT_S


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_cut_off_without_a_word(stage: Stage, gate: Gate) -> None:
    await stage.relay_may_judge()
    with namespace() as apart:
        env = await stage.ground.settings_at(apart.host)
        inside = (*apart.prefix, *PYTHON, "gpu_worker")
        async with workers(stage.house, 1, command=inside, env=env) as (cut_off,):
            job = await stage.client.submit("doomed", note="cut off", params=gate.params)
            await gate.until_runs(1)
            async with workers(stage.house, 1) as (other,):
                began = time.time()
                # When nothing of its worker gets through any more, not even that it is gone
                apart.drop_everything()
                await gate.until_runs(2)
                took = claimed_at(other, job.id, 2) - began
                gate.open()
                await job.wait()
                before = await as_told(job)
                # Then what it brings when the network is back counts for nothing
                apart.let_through()
                await cut_off.until_logged("job.left", job_id=job.id, state="discarded")
                assert await as_told(job) == before
        assert await stage.books.attempts(job.id) == LOST
    tally = await stage.counted([job.id], runs=2)
    stage.measured.append(f"worker cut off without FIN: redone after {took:.1f} s (<= {SILENT_S}), {tally}")
    assert took <= SILENT_S
