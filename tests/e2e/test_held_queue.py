"""A queue that somebody holds, with a real worker and a real broker."""

from __future__ import annotations

import asyncio

import pytest

from gateway.client import AsyncClient
from shared.adapters.store.pauses import PauseStore
from tests.e2e.counting import Books
from tests.e2e.processes import Gate, WorkerProcess
from tests.gateway_process import Backstage

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

SEVERAL = 3
QUIET_S = 3.0
"""Nothing starts: there is no sign of that to wait for. A relay would have sent what is due three times."""


async def test_a_held_queue_ends_what_runs_starts_nothing_and_goes_on_whole(
    client: AsyncClient, gate: Gate, steady: WorkerProcess, behind: Backstage, books: Books
) -> None:
    pauses = PauseStore(behind.database)
    # Given a job that runs, some whose messages are with the broker, and some that come later
    running = await client.submit("gated", note="running", params=gate.params)
    await gate.until_runs(1)
    waiting = [await client.submit("gated", note=number) for number in range(SEVERAL)]
    await pauses.hold("steady", by="e2e/test")
    try:
        waiting += [await client.submit("gated", note=number) for number in range(SEVERAL)]
        # When the worker is free again
        gate.open()
        await running.wait(timeout_s=30)
        await asyncio.sleep(QUIET_S)
        # Then it starts none of them
        assert {(await job.refresh()).state for job in waiting} == {"queued"}
        assert not any(steady.logged("job.claimed", job_id=job.id) for job in waiting)
    finally:
        await pauses.let_go("steady", by="e2e/test")
    # And all of them, each once, when the queue goes on
    await asyncio.gather(*(job.wait(timeout_s=30) for job in waiting))
    for job in [running, *waiting]:
        assert await books.attempts(job.id) == [(1, "succeeded")]
