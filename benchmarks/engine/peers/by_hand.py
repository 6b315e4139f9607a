"""The floor: what Leveret promises about a job's row, and nothing else, as short as it can be written.

    message → claim the row → call the function → commit result and event → SET, PUBLISH → ack

No engine process, leases, renewals, time limits, retries, receipts, logs or metrics: one asyncio process on
uvloop, the function in it. What is slower than a peer here is the price of the commits on these servers.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

import aiormq
import asyncpg
import msgspec
import redis.asyncio
import uvloop
from uuid_utils.compat import uuid7

from benchmarks.engine.peers.addresses import BROKER, IN_HAND, MAX_PRIORITY, PRIORITY, QUEUE, RESULTS

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from aiormq.abc import AbstractChannel, DeliveredMessage

DSN = os.environ.get("BENCH_PEER_POSTGRES", "")
TABLES = """
create schema if not exists by_hand;
create table if not exists by_hand.jobs (
    id uuid primary key, state text not null, attempt int not null default 0, value jsonb, result jsonb
) with (fillfactor = 50);
create table if not exists by_hand.events (job_id uuid, seq int, type text, primary key (job_id, seq));
truncate by_hand.jobs, by_hand.events;
"""
ADD = "insert into by_hand.jobs (id, state, value) select unnest($1::uuid[]), 'queued', '1'"
CLAIM = """
with claimed as (
    update by_hand.jobs set state = 'running', attempt = attempt + 1
    where id = $1 and state = 'queued' returning id, value
), told as (insert into by_hand.events select id, 2, 'job.running' from claimed)
select value from claimed
"""
FINISH = """
with ended as (
    update by_hand.jobs set state = 'succeeded', result = $2 where id = $1 and state = 'running' returning id
)
insert into by_hand.events select id, 3, 'job.succeeded' from ended
"""


def noop(value: Any) -> Any:
    """The function."""
    return value


class Worker:
    """Everything that happens to a message."""

    def __init__(self, database: asyncpg.Pool[Any], results: redis.asyncio.Redis) -> None:
        self._database, self._results = database, results

    async def on_message(self, message: DeliveredMessage) -> None:
        """One job, from the claim to the ack."""
        job_id = msgspec.json.decode(message.body)["job_id"]
        value = await self._database.fetchval(CLAIM, job_id)
        result = msgspec.json.encode(noop(msgspec.json.decode(value))).decode()
        await self._database.execute(FINISH, job_id, result)
        async with self._results.pipeline(transaction=False) as pipeline:
            pipeline.set(f"by-hand:{job_id}", result, ex=604800)
            pipeline.publish("by-hand", job_id)
            await pipeline.execute()
        await message.channel.basic_ack(message.delivery_tag or 0, wait=False)


async def serve() -> None:
    """Consume until SIGTERM."""
    ending = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    async with _pool() as database, redis.asyncio.from_url(RESULTS) as results:
        connection = await aiormq.connect(BROKER)
        channel = await _declared(await connection.channel())
        await channel.basic_qos(prefetch_count=IN_HAND)
        await channel.basic_consume(QUEUE, _side_by_side(Worker(database, results)))
        await ending.wait()
        await connection.close()


def _side_by_side(worker: Worker) -> Callable[[DeliveredMessage], Any]:
    tasks: set[asyncio.Task[None]] = set()

    async def on_message(message: DeliveredMessage) -> None:
        task = asyncio.create_task(worker.on_message(message))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    return on_message


def _pool() -> asyncpg.Pool[Any]:
    settings = {"plan_cache_mode": "force_generic_plan", "jit": "off"}
    return asyncpg.create_pool(DSN, min_size=IN_HAND, max_size=IN_HAND, server_settings=settings)


async def _declared(channel: AbstractChannel) -> AbstractChannel:
    await channel.queue_declare(QUEUE, durable=True, arguments={"x-max-priority": MAX_PRIORITY})
    return channel


async def fill(count: int) -> None:
    """Rows first, then a persistent message for each."""
    ids = [uuid7() for _ in range(count)]
    async with _pool() as database:
        await database.execute(TABLES)
        await database.execute(ADD, ids)
    connection = await aiormq.connect(BROKER)
    channel = await _declared(await connection.channel())
    for first in range(0, count, 64):
        await asyncio.gather(*(_publish(channel, each) for each in ids[first : first + 64]))
    await connection.close()


async def _publish(channel: AbstractChannel, job_id: UUID) -> None:
    properties = aiormq.spec.Basic.Properties(delivery_mode=2, priority=PRIORITY)
    body = msgspec.json.encode({"job_id": str(job_id)})
    await channel.basic_publish(body, routing_key=QUEUE, properties=properties)


if __name__ == "__main__":
    uvloop.run(serve())
