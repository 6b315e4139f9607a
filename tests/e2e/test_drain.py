"""A worker that has to go finishes what fits, gives back the rest unspent, and leaves with a clean exit."""

from __future__ import annotations

import pytest

from gateway.client import AsyncClient
from tests.e2e.counting import Books
from tests.e2e.processes import Gate, House

pytestmark = [pytest.mark.anyio, pytest.mark.stack]


async def test_what_ends_in_time_is_finished_first(
    client: AsyncClient, gate: Gate, house: House, books: Books
) -> None:
    with house.worker("faults") as worker:
        job = await client.submit("doomed", note="short", params=gate.params)
        await gate.until_runs(1)
        # When the worker is asked to go, and the job ends after that
        worker.drain()
        await worker.until_logged("worker.draining")
        later = await client.submit("doomed", note="later")
        gate.open()
        # Then it is finished here, and no other is begun
        await job.wait()
        assert await worker.exit_code() == 0
    assert await books.attempts(job.id) == [(1, "succeeded")]
    assert (await later.refresh()).state == "queued"
    with house.worker("faults"):
        await later.wait()
    assert await books.attempts(later.id) == [(1, "succeeded")]


async def test_what_takes_too_long_is_given_back_with_its_attempt_unspent(
    client: AsyncClient, gate: Gate, house: House, books: Books
) -> None:
    # Given a worker with a job that runs, and one that waits for its turn there
    with house.worker("faults", slots="2", drain_s="0.2") as worker:
        job = await client.submit("doomed", note="long", params=gate.params, max_attempts=1)
        await gate.until_runs(1)
        second = await client.submit("doomed", note="next", max_attempts=1)
        await worker.until_logged("job.claimed", job_id=second.id)
        # When it has to go before they end
        worker.drain()
        assert await worker.exit_code() == 0
    # Then both are as if it had never had them
    assert [(await each.refresh()).raw["attempt"] for each in (job, second)] == [0, 0]
    # And the next worker runs them
    with house.worker("faults"):
        await gate.until_runs(2)
        gate.open()
        told = [event.type async for event in job.events(after=0) if event.type != "job.progress"]
        await second.wait()
    assert told == ["job.queued", "job.running", "job.released", "job.running", "job.succeeded"]
    for each in (job, second):
        assert await books.attempts(each.id) == [(1, "released"), (1, "succeeded")]
