"""Many messages of one job: ten workers that claim it at one moment, a thousand copies of it twice over."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import UUID

import pytest
from pydantic import SecretStr

from shared.adapters.amqp import connect, open_channel
from shared.messages import encode_hint
from shared.settings import RabbitMQ
from tests.e2e.processes import Gate, WorkerProcess
from tests.faults.ground import Ground
from tests.faults.scene import MODEL, QUEUE, Scene, scene

pytestmark = [pytest.mark.anyio, pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(240)]

WORKERS = 10
COPIES = 1000
NAME = f"leveret.{QUEUE}"


@pytest.fixture
async def stage(ground: Ground, stack_env: dict[str, str], tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(ground, stack_env, tmp_path / "stage") as opened:
        yield opened


@pytest.fixture
def hands(stage: Scene) -> Iterator[list[WorkerProcess]]:
    with stage.house.workers(QUEUE, WORKERS) as started:
        yield started


def signal_all(workers: list[WorkerProcess], number: signal.Signals) -> None:
    for worker in workers:
        worker.process.send_signal(number)


async def say_again(ground: Ground, job_id: str, copies: int) -> None:
    """Publish the job's hint so many times more."""
    settings = RabbitMQ(url=SecretStr(ground.direct["LEVERET_RABBITMQ_URL"]))
    connection = await connect(settings, name="copies")
    async with connection, open_channel(connection) as channel:
        body = encode_hint(UUID(job_id))
        await asyncio.gather(*(channel.basic_publish(body, routing_key=NAME) for _ in range(copies)))


async def until_consumed(ground: Ground, consumers: int) -> None:
    """Wait until all workers consume: that they are ready is said a moment before."""
    async with asyncio.timeout(60):
        while [NAME, str(consumers)] not in await _told(ground, "name", "consumers"):
            await asyncio.sleep(0.1)


async def until_depth(ground: Ground, *, ready: int, in_hand: int) -> None:
    """Wait until the queue holds so many messages, and workers so many of it."""
    wanted = [NAME, str(ready), str(in_hand)]
    async with asyncio.timeout(60):
        while wanted not in await _told(ground, "name", "messages_ready", "messages_unacknowledged"):
            await asyncio.sleep(0.1)


async def _told(ground: Ground, *columns: str) -> list[list[str]]:
    told = await ground.rabbitmqctl("list_queues", "--no-table-headers", *columns)
    return [line.split() for line in told.splitlines()]


async def test_ten_claims_at_one_moment_and_a_thousand_copies_are_one_run_and_one_result(
    stage: Scene, hands: list[WorkerProcess], ground: Ground, gate: Gate, measured: list[str]
) -> None:
    # Given ten workers, each with a message of the same job in its hand
    await until_consumed(ground, WORKERS)
    signal_all(hands, signal.SIGSTOP)
    try:
        job = await stage.client.submit(MODEL, note=1, gate=str(gate.path))
        await say_again(ground, job.id, WORKERS - 1)
        await until_depth(ground, ready=0, in_hand=WORKERS)
    finally:
        # When all of them go for it at one moment
        signal_all(hands, signal.SIGCONT)
    await gate.until_runs(1)
    # And many more messages come, while it runs and after its end
    await say_again(ground, job.id, COPIES)
    await until_depth(ground, ready=0, in_hand=1)
    gate.open()
    await job.wait(timeout_s=60)
    await say_again(ground, job.id, COPIES)
    await until_depth(ground, ready=0, in_hand=0)
    # Then one of them ran it, once
    claims = sum(worker.logged("job.claimed", job_id=job.id) is not None for worker in hands)
    assert (claims, len(gate.runs())) == (1, 1)
    assert await stage.books.attempts(job.id) == [(1, "succeeded")]
    assert all(worker.process.poll() is None for worker in hands)
    tally = await stage.counted([job.id], runs=1)
    measured.append(
        f"{WORKERS} workers with one job's message, then {2 * COPIES} more: 1 claim, 1 run, {tally}"
    )
