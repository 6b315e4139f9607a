"""One job is run once and ends once, however often it was said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID, uuid4

import httpx2
import pytest
from pydantic import SecretStr

from gateway.client import AsyncClient
from shared.adapters.amqp import connect, open_channel
from shared.adapters.broker import Publisher, open_publisher
from shared.messages import encode_hint
from shared.settings import RabbitMQ
from tests.e2e.counting import Books
from tests.e2e.processes import Gate, House, WorkerProcess

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

COPIES = 1000


@dataclass(frozen=True, slots=True)
class Queue:
    """The queue of the steady workers, from outside."""

    settings: RabbitMQ
    publisher: Publisher

    async def copies_of(self, job_id: str) -> None:
        """Publish the job's hint many times, and wait until workers have taken all of them."""
        body = encode_hint(UUID(job_id))
        connection = await connect(self.settings, name="copies")
        async with connection, open_channel(connection) as channel:
            await asyncio.gather(
                *(channel.basic_publish(body, routing_key="leveret.steady") for _ in range(COPIES))
            )
        async with asyncio.timeout(60):
            while (await self.publisher.depth("steady")).ready:
                await asyncio.sleep(0.05)


@pytest.fixture
async def queue(stack_env: dict[str, str], steady: WorkerProcess) -> AsyncIterator[Queue]:
    assert steady.process.poll() is None
    settings = RabbitMQ(url=SecretStr(stack_env["LEVERET_RABBITMQ_URL"]))
    async with open_publisher(settings, name="test") as publisher:
        yield Queue(settings, publisher)


async def test_a_thousand_copies_of_one_message_are_one_run_and_one_result(
    client: AsyncClient, gate: Gate, house: House, queue: Queue, books: Books
) -> None:
    with house.worker("steady"):  # a second one, that is free to take the copies of a running job
        job = await client.submit("gated", note=1, params=gate.params)
        await gate.until_runs(1)
        # When copies arrive while it runs, and again after its end
        await queue.copies_of(job.id)
        gate.open()
        await job.wait()
        await queue.copies_of(job.id)
        await (await client.submit("gated", note=2, priority=0)).wait()
    # Then it ran once and ended once
    assert len(gate.runs()) == 1
    assert await books.attempts(job.id) == [(1, "succeeded")]
    tally = await books.tally([job.id])
    assert (tally.accepted, tally.lost, tally.duplicated, tally.runs) == (1, 0, 0, 1)


@pytest.mark.usefixtures("steady")
async def test_twenty_submits_with_one_key_are_one_job(http: httpx2.AsyncClient, books: Books) -> None:
    body = {"model": "gated", "inputs": {"note": {"json": "once"}}}
    headers = {"Idempotency-Key": str(uuid4())}

    answers = await asyncio.gather(*(http.post("/v1/jobs", json=body, headers=headers) for _ in range(20)))

    assert {answer.status_code for answer in answers} == {202}
    (job_id,) = {answer.json()["id"] for answer in answers}
    other = await http.post("/v1/jobs", json={**body, "priority": 9}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_conflict")
    done = await http.post("/v1/jobs", json=body, headers={**headers, "Prefer": "wait=30"}, timeout=60)
    assert (done.json()["id"], done.json()["state"]) == (job_id, "succeeded")
    assert await books.attempts(job_id) == [(1, "succeeded")]
