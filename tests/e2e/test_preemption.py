"""A spot instance is taken away: what fits is finished there, the rest goes on elsewhere at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gateway.client import AsyncClient
from tests.e2e.counting import Books
from tests.e2e.processes import PYTHON, Gate, House, WorkerProcess
from tests.fakes.imds import FakeImds, fake_imds

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

GONE_S = 40.0
"""Less RELEASE_S that is some 20 s for work."""
RAN_S = 7.5
"""With a quarter done, as `gated` tells, more than those 20 s are to come."""


@pytest.fixture
def imds() -> Iterator[FakeImds]:
    with fake_imds() as fake:
        yield fake


@contextmanager
def spot_worker(house: House, imds: FakeImds, *, slots: int = 1) -> Iterator[WorkerProcess]:
    command = (*PYTHON, "tests.e2e.watchful")
    with house.worker(
        "faults", command=command, slots=str(slots), preemption="ec2", imds_url=imds.url
    ) as worker:
        yield worker


async def test_the_short_job_is_finished_and_the_long_one_given_back_at_once(
    client: AsyncClient, gate: Gate, house: House, books: Books, imds: FakeImds
) -> None:
    with spot_worker(house, imds, slots=2) as worker:
        # Given a job that has run for a while, and one that has just come
        long = await client.submit("doomed", note="long", params=gate.params, max_attempts=1)
        await gate.until_runs(1)
        await asyncio.sleep(RAN_S)
        short = await client.submit("doomed", note="short", max_attempts=1)
        await worker.until_logged("job.claimed", job_id=short.id)
        # When the instance is marked
        imds.interrupt(GONE_S)
        decided = await worker.until_logged("worker.decided")
        # Then the long one is free for others while the short one ends here
        assert (list(decided["given_back"]), list(decided["kept"])) == ([long.id], [short.id])
        with house.worker("faults"):
            await gate.until_runs(2)
            gate.open()
            await long.wait()
        await short.wait()
        assert await worker.exit_code() == 0
        assert worker.logged("worker.draining", kind="interruption")
        assert worker.logged("job.left", job_id=short.id, state="succeeded")
    assert await books.attempts(long.id) == [(1, "released"), (1, "succeeded")]
    assert await books.attempts(short.id) == [(1, "succeeded")]


async def test_the_advice_to_leave_lets_the_job_in_hand_end_and_takes_no_other(
    client: AsyncClient, gate: Gate, house: House, books: Books, imds: FakeImds
) -> None:
    with spot_worker(house, imds) as worker:
        job = await client.submit("doomed", note="in hand", params=gate.params)
        await gate.until_runs(1)
        # When the instance is at risk
        imds.recommend()
        await worker.until_logged("worker.retiring", kind="rebalance")
        later = await client.submit("doomed", note="later")
        gate.open()
        await job.wait()
        assert await worker.exit_code() == 0
    assert (await later.refresh()).state == "queued"
    with house.worker("faults"):
        await later.wait()
    for each in (job, later):
        assert await books.attempts(each.id) == [(1, "succeeded")]
