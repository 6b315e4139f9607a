"""Who pays for a process that dies with several jobs in it: who was at work, and nobody who waited.

The same four jobs in one worker, where one of them harms what runs it, each time it is run:

    culprit   on the device, does it
    prepared  has been prepared, stands before the device
    busy      is being prepared
    waiting   stands before that: no engine has begun with it
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from gateway.client import JobFailed
from gateway.client.jobs import AsyncJob
from tests.e2e.processes import Gate, WorkerProcess, until
from tests.faults.conftest import Stage
from tests.faults.ground import Ground
from tests.faults.scene import scene

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

MODEL = QUEUE = "staged"
SLOTS = 6
"""Room for two more than the four."""
WORK_S = 1.0
"""Of a job that then takes its worker down: far longer than what it takes to mark who is at work."""
SPARED = 10
"""Published: so many deaths of others cost who stands in line nothing, but for the last of them."""
IN_LINE_S = 0.3
"""Of a job before it ends its engine: meanwhile all others are in its line."""
LONGER_S = 0.5
"""Far longer than a claim takes."""
Attempts = list[tuple[int, str]]


@pytest.fixture(scope="module")
async def stage(
    ground: Ground, stack_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory, measured: list[str]
) -> AsyncIterator[Stage]:
    async with scene(ground, stack_env, tmp_path_factory.mktemp("blame")) as opened:
        it = opened
        yield Stage(it.house, it.client, it.books, ground, it.behind, it.gateway, measured)


@dataclass(frozen=True, slots=True)
class Cast:
    """The four jobs, and what they wrote down.

    Attributes:
        acts: Opened, the culprit goes on.
        rest: Opened, the busy one does.
    """

    stage: Stage
    diary: Path
    acts: Gate
    rest: Gate
    jobs: dict[str, AsyncJob]

    async def enter(self, name: str, *, priority: int = 5, attempts: int = 3, **params: Any) -> AsyncJob:
        """Submit one more."""
        told = {"step": "prepare", "diary": str(self.diary), **params}
        self.jobs[name] = await self.stage.client.submit(
            MODEL, note=name, params=told, priority=priority, max_attempts=attempts
        )
        return self.jobs[name]

    async def begun(self, name: str, times: int = 1) -> None:
        """Wait until an engine has begun with this job for the so-many-th time."""

        def often() -> bool:
            return [each[1:] for each in self.lines()].count([name, "begins"]) >= times

        await until(often, why=f"{name} begins {times} times")

    def lines(self) -> list[list[str]]:
        """Pid, name, and what it did, in order."""
        return [line.split() for line in self.diary.read_text().splitlines()] if self.diary.exists() else []

    def company(self, name: str) -> list[set[str]]:
        """For each of its runs, who else was in its engine at some time of it."""
        found: list[set[str]] = []
        inside: list[tuple[str, str]] = []
        for pid, who, what in self.lines():
            inside = [each for each in inside if each[0] == pid]  # another process: the former is dead
            if what == "ends":
                inside.remove((pid, who))
                continue
            if who == name:
                found.append({other for _, other in inside})
            elif (pid, name) in inside:
                found[-1].add(who)
            inside.append((pid, who))
        return found

    async def attempts(self, *names: str) -> list[Attempts]:
        return [await self.stage.books.attempts(self.jobs[name].id) for name in names]

    async def reasons(self, name: str) -> list[str]:
        """Why each of its attempts failed."""
        attempts = (await self.stage.client.logs(self.jobs[name].id))["attempts"]
        return [each["error"]["message"] for each in attempts if each["error"]]

    async def marked(self, name: str) -> bool:
        """Whether its next run has to be alone."""
        rows = await self.stage.behind.database.read(
            "select alone from jobs where id = $1", UUID(self.jobs[name].id)
        )
        return bool(rows[0]["alone"])

    async def ended(self, told: str) -> None:
        """All that do no harm succeeded, and nobody is lost or doubled."""
        for name, job in self.jobs.items():
            if not name.startswith(("culprit", "deadly")):
                await job.wait(timeout_s=90)
        tally = await self.stage.books.tally([job.id for job in self.jobs.values()])
        assert (tally.accepted, tally.lost, tally.duplicated) == (len(self.jobs), 0, 0), tally
        self.stage.measured.append(f"{told}: {tally}")


@asynccontextmanager
async def crew(stage: Stage, slots: int = SLOTS) -> AsyncIterator[list[WorkerProcess]]:
    """A worker, and after its death the next one, as a supervisor would have it."""
    with ExitStack() as stack:
        all_: list[WorkerProcess] = []

        async def staff() -> None:
            while True:
                all_.append(stack.enter_context(stage.house.worker(QUEUE, ready=False, slots=str(slots))))
                while all_[-1].process.poll() is None:
                    await asyncio.sleep(0.02)

        staffing = asyncio.create_task(staff())
        try:
            await until(lambda: all_, why="a worker starts")
            await all_[0].until_logged("worker.ready")
            yield all_
        finally:
            staffing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await staffing


async def set_up(stage: Stage, folder: Path, **harm: Any) -> Cast:
    """All four are where they should be, with the culprit about to do it."""
    cast = Cast(stage, folder / "diary", Gate(folder / "acts"), Gate(folder / "rest"), {})
    await cast.enter("culprit", step="infer", gate=str(cast.acts.path), **harm)
    await cast.acts.until_runs(1)
    await cast.enter("prepared")
    await cast.begun("prepared")
    await cast.enter("busy", gate=str(cast.rest.path))
    await cast.rest.until_runs(1)
    await cast.enter("waiting")
    return cast


async def in_hand(worker: WorkerProcess, job: AsyncJob) -> None:
    await worker.until_logged("job.claimed", job_id=job.id)


async def test_a_segfault_is_paid_for_by_who_was_at_work_and_by_nobody_in_line(
    stage: Stage, tmp_path: Path
) -> None:
    async with crew(stage) as workers:
        cast = await set_up(stage, tmp_path, how="segfault")
        await in_hand(workers[0], cast.jobs["waiting"])
        cast.acts.open()
        # Then those in line go on in the next engine, and the busy one begins again when they have left
        await cast.rest.until_runs(2)
        # And whoever comes while that is alone is not even claimed
        late = await cast.enter("late")
        await asyncio.sleep(LONGER_S)
        assert (await late.refresh()).state == "queued"
        cast.rest.open()
        with pytest.raises(JobFailed) as failed:
            await cast.jobs["culprit"].wait(timeout_s=60)
        await cast.ended("segfault with a job at work beside it and two in line")
    assert len(workers) == 1
    assert failed.value.code == "worker_lost"
    assert await cast.attempts("culprit", "busy", "prepared", "waiting", "late") == [
        [(1, "waiting"), (2, "waiting"), (3, "failed")],
        [(1, "waiting"), (2, "succeeded")],
        [(1, "succeeded")],
        [(1, "succeeded")],
        [(1, "succeeded")],
    ]
    # And from then on those who paid had their engine to themselves
    assert cast.company("culprit") == [{"prepared", "busy"}, set(), set()]
    assert cast.company("busy") == [{"culprit", "prepared"}, set()]
    assert [await cast.marked(name) for name in ("busy", "prepared", "waiting")] == [True, False, False]


@pytest.mark.parametrize(
    ("deaths", "attempts"),
    [(SPARED - 1, [(1, "succeeded")]), (SPARED, [(1, "released"), (1, "succeeded")])],
)
async def test_who_stood_in_line_of_many_dying_engines_never_pays(
    stage: Stage, tmp_path: Path, deaths: int, attempts: Attempts
) -> None:
    cast = Cast(stage, tmp_path / "diary", Gate(tmp_path / "acts"), Gate(tmp_path / "rest"), {})
    async with crew(stage, slots=deaths + 1) as workers:
        # Given so many jobs ahead of it that each end their engine, all in one worker's hands
        harm: dict[str, Any] = {"how": "segfault", "seconds": IN_LINE_S, "gate": str(cast.acts.path)}
        deadly = [await cast.enter(f"deadly-{number}", attempts=1, **harm) for number in range(deaths)]
        await cast.enter("waiting", priority=0)
        for job in cast.jobs.values():
            await in_hand(workers[0], job)
        cast.acts.open()
        for job in deadly:
            with pytest.raises(JobFailed):
                await job.wait(timeout_s=60)
        await cast.jobs["waiting"].wait(timeout_s=60)
        await cast.ended(f"{deaths} engines died before a job's turn came")
    # Then it began once, after them, and has paid nothing
    why = await cast.reasons("waiting")
    assert await cast.attempts("waiting") == [attempts], why
    assert all(f"ended {SPARED} times under other jobs" in each for each in why)
    assert cast.company("waiting") == [set()]
    assert await cast.marked("waiting") is False
    assert len(workers) == 1


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_a_job_that_kills_its_worker_every_time_fails_and_who_waited_pays_nothing(
    stage: Stage, tmp_path: Path
) -> None:
    await stage.relay_may_judge()
    async with crew(stage) as workers:
        cast = await set_up(stage, tmp_path, how="kills", seconds=WORK_S)
        await in_hand(workers[0], cast.jobs["waiting"])
        cast.acts.open()
        # And at each of its further attempts somebody new comes, and is not claimed beside it
        for attempt in (2, 3):
            await cast.acts.until_runs(attempt)
            cast.rest.open()
            await cast.enter(f"waiting-{attempt}")
        with pytest.raises(JobFailed) as failed:
            await cast.jobs["culprit"].wait(timeout_s=60)
        await cast.ended("worker killed by its job at every attempt, four in hand")
    # Then each of its attempts cost a worker, and it was alone from the second one on
    assert len(workers) == 1 + 3
    assert failed.value.code == "worker_lost"
    assert await cast.attempts("culprit") == [[(1, "worker_lost"), (2, "worker_lost"), (3, "worker_lost")]]
    assert cast.company("culprit") == [{"prepared", "busy"}, set(), set()]
    # And who only waited never paid, however many workers were lost around it
    waited = await cast.attempts("waiting", "waiting-2", "waiting-3")
    assert [{attempt for attempt, _ in each} for each in waited] == [{1}] * 3
    assert [each[-1] for each in waited] == [(1, "succeeded")] * 3
    assert [await cast.marked(name) for name in ("waiting", "waiting-2", "waiting-3")] == [False] * 3
    # While those paid once, and ran alone, with whom an engine had begun
    begun = await cast.attempts("busy", "prepared")
    assert [{attempt for attempt, _ in each} for each in begun] == [{1, 2}] * 2
    assert [await cast.marked(name) for name in ("busy", "prepared")] == [True, True]
