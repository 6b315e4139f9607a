"""When a run is judged: counted from the last fault's end, and with nothing waited for that had its time."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from tests.chaos.books import Row
from tests.chaos.plan import Plan
from tests.chaos.run import Run
from tests.chaos.testimony import Subscription

pytestmark = pytest.mark.anyio
PATIENCE_S = 20
JOB = "job-1"


def a_run(*, over_s: float, settle_s: float) -> tuple[Run, list[str]]:
    """A run whose last fault was over so many seconds ago, and what it says."""
    said: list[str] = []
    run = Run("seed", Plan(seconds=1, appointments=(), settle_s=settle_s), said.append)
    run._healed = time.monotonic() - over_s
    return run, said


def an_arena(backlog: int) -> Any:
    return SimpleNamespace(backlog=backlog, looked_at=float("inf"))


async def settled(run: Run, *, backlog: int, submitting: float) -> None:
    """Returns when the run would be judged; a client goes on submitting for so many seconds."""
    client = asyncio.create_task(asyncio.sleep(submitting))
    try:
        async with asyncio.timeout(PATIENCE_S):
            await run._settle(an_arena(backlog), client)
    finally:
        client.cancel()


async def test_the_time_runs_from_the_end_of_the_last_fault_whatever_is_still_under_way() -> None:
    run, said = a_run(over_s=60, settle_s=60)
    await settled(run, backlog=7, submitting=3600)
    assert "judged 60." in said[0]


async def test_when_all_has_ended_nothing_is_waited_for() -> None:
    run, _ = a_run(over_s=0, settle_s=3600)
    await settled(run, backlog=0, submitting=0)


@pytest.mark.parametrize("what", ["a job", "a client", "a follower"])
async def test_until_then_it_waits(what: str) -> None:
    run, _ = a_run(over_s=0, settle_s=3600)
    if what == "a follower":
        run._seen.subscriptions.append(Subscription(JOB))
    waiting = asyncio.create_task(
        settled(run, backlog=int(what == "a job"), submitting=3600.0 if what == "a client" else 0.0)
    )
    assert not (await asyncio.wait([waiting], timeout=0.5))[0]
    waiting.cancel()


async def test_who_follows_a_job_that_ended_in_time_is_given_a_moment_more() -> None:
    run, _ = a_run(over_s=60, settle_s=60)
    follower = Subscription(JOB)
    run._seen.subscriptions.append(follower)
    waiting = asyncio.create_task(run._grace({JOB: Row(JOB, "succeeded", 1, 1, 3, "key-1", {})}))
    assert not (await asyncio.wait([waiting], timeout=0.3))[0]
    follower.hear(3, "job.succeeded")
    async with asyncio.timeout(PATIENCE_S):
        await waiting


async def test_who_follows_a_job_without_an_end_is_not_waited_for() -> None:
    run, _ = a_run(over_s=60, settle_s=60)
    run._seen.subscriptions.append(Subscription(JOB))
    waiting = asyncio.create_task(run._grace({JOB: Row(JOB, "running", 1, 1, 3, "key-1", {})}))
    assert (await asyncio.wait([waiting], timeout=PATIENCE_S))[0]
