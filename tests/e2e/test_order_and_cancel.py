"""What starts first, and what is ended before its time."""

from __future__ import annotations

import asyncio
from io import BytesIO

import pytest
from PIL import Image

from gateway.client import ApiError, AsyncClient, JobCanceled
from tests.e2e.counting import Books
from tests.e2e.processes import Gate, WorkerProcess

pytestmark = [pytest.mark.anyio, pytest.mark.stack]


async def test_higher_priority_starts_first_behind_a_busy_worker(
    client: AsyncClient, gate: Gate, steady: WorkerProcess
) -> None:
    # Given one worker that is busy, and jobs that wait for it
    assert steady.pid
    first = await client.submit("gated", note="first", params=gate.params, priority=0)
    await gate.until_runs(1)
    waiting = [await client.submit("gated", note=number, priority=number) for number in (1, 5, 10, 0, 7, 5)]
    positions = [(await job.refresh()).raw["queue_position"] for job in waiting]
    # When it is free again
    gate.open()
    await asyncio.gather(*(job.wait() for job in [first, *waiting]))
    # Then they start by priority, and equals in the order of their coming
    looks = [await job.refresh() for job in waiting]
    started = sorted(looks, key=lambda job: str(job.raw["started_at"]))
    assert [job.raw["priority"] for job in started] == [10, 7, 5, 5, 1, 0]
    assert started[2].id == waiting[1].id
    assert positions == [5, 3, 1, 6, 2, 4]


async def test_a_queued_job_is_canceled_at_once_and_never_runs(
    client: AsyncClient, gate: Gate, steady: WorkerProcess, books: Books
) -> None:
    assert steady.pid
    busy = await client.submit("gated", note=1, params=gate.params)
    await gate.until_runs(1)
    queued = await client.submit("gated", note=2, params=gate.params)

    await queued.cancel()

    with pytest.raises(JobCanceled):
        await queued.wait()
    assert queued.state == "canceled"
    with pytest.raises(ApiError) as again:
        await queued.cancel()
    assert (again.value.status, again.value.code) == (409, "job_ended")
    gate.open()
    await busy.wait()
    await (await client.submit("gated", note=3, priority=0)).wait()
    assert len(gate.runs()) == 1
    assert await books.attempts(queued.id) == []


async def test_running_python_is_ended_and_the_worker_goes_on(
    client: AsyncClient, gate: Gate, steady: WorkerProcess, books: Books
) -> None:
    job = await client.submit("gated", note=1, params=gate.params)
    engine = await gate.until_runs(1)

    await job.cancel()

    with pytest.raises(JobCanceled):
        await job.wait(timeout_s=60)
    assert [event.type async for event in client.follow(job.id)][-1] == "job.canceled"
    assert await books.attempts(job.id) == [(1, "canceled")]
    assert (await client.logs(job.id))["attempts"][0]["log"] == f"running in {engine}\n"
    await (await client.submit("gated", note=2)).wait()
    assert steady.process.poll() is None


async def test_a_running_graph_is_ended_and_keeps_its_engine(
    client: AsyncClient, images: WorkerProcess, books: Books
) -> None:
    # Given a graph that runs over and over
    picture = Image.new("RGB", (64, 64), "red")
    job = await client.submit("endless", image=_png(picture))
    async for event in job.events(after=0):
        if event.type == "job.progress":
            break
    # When it is canceled
    await job.cancel()
    with pytest.raises(JobCanceled):
        await job.wait(timeout_s=60)
    # Then the same worker takes the next image
    assert await books.attempts(job.id) == [(1, "canceled")]
    await (await client.submit("cutout", image=_png(picture))).wait()
    assert images.process.poll() is None


def _png(picture: Image.Image) -> bytes:
    file = BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
