"""Publishing and consuming against a real RabbitMQ."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import pytest
from pydantic import SecretStr
from uuid_utils.compat import uuid7

from deploy.local.ports import free_ports
from shared.adapters.amqp import connect, open_channel
from shared.adapters.broker import Publisher, open_publisher
from shared.adapters.consumer import Consumer, Delivery
from shared.errors import Misconfigured, Unavailable
from shared.messages import decode_hint
from shared.settings import RabbitMQ
from tests.chaos.proxy import HOST, FaultProxy, Weather

pytestmark = pytest.mark.anyio


@pytest.fixture
def settings(rabbitmq_url: str) -> RabbitMQ:
    return RabbitMQ(url=SecretStr(rabbitmq_url))


@pytest.fixture
async def publisher(settings: RabbitMQ) -> AsyncIterator[Publisher]:
    async with open_publisher(settings, name="test") as publisher:
        yield publisher


@asynccontextmanager
async def consuming(
    settings: RabbitMQ, queue: str, *, slots: int = 1, since: float = 0.0
) -> AsyncIterator[Consumer]:
    consumer = Consumer(settings, queue=queue, slots=slots, name="test", since=since)
    running = asyncio.create_task(consumer.run())
    try:
        yield consumer
    finally:
        running.cancel()
        await asyncio.wait([running])


async def take(consumer: Consumer) -> tuple[Delivery, UUID]:
    async with asyncio.timeout(20):
        delivery = await consumer.next()
    return delivery, decode_hint(delivery.body).job_id


async def test_higher_priority_is_delivered_first(settings: RabbitMQ, publisher: Publisher) -> None:
    await publisher.declare(["order"])
    ids = {priority: uuid7() for priority in (0, 5, 10, 3)}
    for priority, job_id in ids.items():
        await publisher.publish("order", job_id, priority=priority, traceparent=None)
    assert (await publisher.depth("order")).ready == 4

    async with consuming(settings, "order") as consumer:
        seen = []
        for _ in ids:
            delivery, job_id = await take(consumer)
            seen.append(job_id)
            await consumer.settle(delivery)

    assert seen == [ids[10], ids[5], ids[3], ids[0]]


async def test_prefetch_one_holds_exactly_one_message(settings: RabbitMQ, publisher: Publisher) -> None:
    await publisher.declare(["one"])
    for _ in range(3):
        await publisher.publish("one", uuid7(), priority=5, traceparent=None)

    async with consuming(settings, "one") as consumer:
        await take(consumer)
        depth = await publisher.depth("one")

    assert (depth.ready, depth.consumers) == (2, 1)


async def test_what_was_not_settled_comes_again(settings: RabbitMQ, publisher: Publisher) -> None:
    await publisher.declare(["again"])
    job_id = uuid7()
    await publisher.publish("again", job_id, priority=5, traceparent=None)

    async with consuming(settings, "again") as consumer:
        await take(consumer)
    async with consuming(settings, "again") as consumer:
        delivery, seen = await take(consumer)
        await consumer.settle(delivery)

    assert seen == job_id


async def test_a_lost_connection_keeps_the_job_and_takes_no_other(
    settings: RabbitMQ, publisher: Publisher
) -> None:
    await publisher.declare(["cut"])
    first, second = uuid7(), uuid7()
    await publisher.publish("cut", first, priority=9, traceparent=None)
    await publisher.publish("cut", second, priority=1, traceparent=None)
    async with consuming(settings, "cut") as consumer:
        held, seen = await take(consumer)
        assert seen == first
        await held.channel.connection.close(ConnectionError("cut"))
        async with asyncio.timeout(10):
            while consumer.connected.is_set():
                await asyncio.sleep(0.01)
            await consumer.connected.wait()

        depth = await publisher.depth("cut")
        assert (depth.ready, depth.consumers) == (2, 0)
        await consumer.settle(held)

        repeated, seen = await take(consumer)
        assert seen == first
        await consumer.settle(repeated)
        last, seen = await take(consumer)
        assert seen == second
        await consumer.settle(last)


async def test_slots_that_come_free_after_a_reconnect_are_filled_and_never_more(
    settings: RabbitMQ, publisher: Publisher
) -> None:
    await publisher.declare(["slots"])
    for _ in range(9):
        await publisher.publish("slots", uuid7(), priority=5, traceparent=None)
    async with consuming(settings, "slots", slots=3) as consumer:
        old = [(await take(consumer))[0] for _ in range(3)]
        await old[0].channel.connection.close(ConnectionError("cut"))
        held = list(old)
        for freed in old:
            await consumer.settle(freed)
            held.remove(freed)
            held.append((await take(consumer))[0])
            assert len(held) == 3
            ready = (await publisher.depth("slots")).ready
            assert ready == 9 - len([message for message in held if message not in old])

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await consumer.next()


async def test_a_deleted_queue_is_declared_again_by_both_sides(
    settings: RabbitMQ, publisher: Publisher
) -> None:
    await publisher.declare(["gone"])
    publisher.forget_vanished("gone")
    async with consuming(settings, "gone") as consumer:
        await consumer.connected.wait()
        await _delete(settings, "leveret.gone")

        job_id = uuid7()
        await publisher.publish("gone", job_id, priority=5, traceparent=None)

        delivery, seen = await take(consumer)
        await consumer.settle(delivery)
    assert seen == job_id
    assert publisher.vanished() == ["gone"]
    publisher.forget_vanished("gone")
    assert publisher.vanished() == []


async def test_many_publishes_that_miss_their_queue_tell_it_once(settings: RabbitMQ) -> None:
    """Each telling sends every waiting job again."""
    async with _slowly(settings) as slow, open_publisher(slow, name="slow") as publisher:
        await publisher.declare(["gone-once"])
        publisher.forget_vanished("gone-once")
        await _delete(settings, "leveret.gone-once")
        told = 0

        async with asyncio.TaskGroup() as tasks:
            sending = [tasks.create_task(_publish(publisher, "gone-once")) for _ in range(20)]
            while not all(task.done() for task in sending):
                told += len(publisher.vanished())
                publisher.forget_vanished("gone-once")
                await asyncio.sleep(0)

        assert told + len(publisher.vanished()) == 1
        assert (await publisher.depth("gone-once")).ready == 20


async def test_a_queue_that_is_looked_at_and_missing_is_made_anew_and_told(
    settings: RabbitMQ, publisher: Publisher
) -> None:
    await publisher.declare(["missing"])
    publisher.forget_vanished("missing")
    await publisher.depth("missing")
    assert publisher.vanished() == []
    await _delete(settings, "leveret.missing")

    depth = await publisher.depth("missing")

    assert (depth.ready, depth.consumers) == (0, 0)
    assert publisher.vanished() == ["missing"]

    await _delete(settings, "leveret.missing")
    async with open_publisher(settings, name="only-looks") as other:
        with pytest.raises(Unavailable, match=r"no queue leveret\.missing"):
            await other.depth("missing")
        assert other.vanished() == []


async def test_a_queue_without_priorities_is_refused_by_name_and_the_others_work(
    settings: RabbitMQ, publisher: Publisher
) -> None:
    connection = await connect(settings, name="other")
    async with connection, open_channel(connection) as channel:
        await channel.queue_declare("leveret.plain", durable=True)

    with pytest.raises(Misconfigured, match=r"leveret\.plain.*rabbitmqctl delete_queue"):
        await publisher.declare(["plain", "fine"])

    await publisher.publish("fine", uuid7(), priority=5, traceparent=None)
    with pytest.raises(Misconfigured, match=r"leveret\.plain"):
        await publisher.publish("plain", uuid7(), priority=5, traceparent=None)


async def test_work_packs_on_the_worker_that_serves_longest(settings: RabbitMQ, publisher: Publisher) -> None:
    await publisher.declare(["packing"])
    async with (
        consuming(settings, "packing", slots=2, since=1_700_000_002.0) as late,
        consuming(settings, "packing", slots=2, since=1_700_000_001.0) as early,
    ):
        async with asyncio.timeout(20):
            while (await publisher.depth("packing")).consumers < 4:
                await asyncio.sleep(0.05)
        # One job at a time never reaches the worker that came later
        for _ in range(10):
            await _publish(publisher, "packing")
            await early.settle((await take(early))[0])
        # Of two at once each gets one, since each has a slot that computes; then the further slots
        order = []
        for _ in range(4):
            await _publish(publisher, "packing")
            order.append(await _whose(early, late))
        assert [taker is early for taker in order] == [True, False, True, False]


async def test_who_gave_a_job_back_is_asked_after_all_others(
    settings: RabbitMQ, publisher: Publisher
) -> None:
    await publisher.declare(["stepping"])
    async with (
        consuming(settings, "stepping", slots=2, since=1_700_000_002.0) as late,
        consuming(settings, "stepping", slots=2, since=1_700_000_001.0) as early,
    ):
        async with asyncio.timeout(20):
            while (await publisher.depth("stepping")).consumers < 4:
                await asyncio.sleep(0.05)
        await _publish(publisher, "stepping")
        in_hand, _ = await take(early)

        early.step_down()
        async with asyncio.timeout(20):  # it holds one still, so it has one more slot, behind the other's
            while (await publisher.depth("stepping")).consumers != 3:
                await asyncio.sleep(0.05)
        order = []
        for _ in range(3):
            await _publish(publisher, "stepping")
            order.append(await _whose(early, late))
        assert [taker is early for taker in order] == [False, False, True]
        # And what it held since before can still be settled, which gives it a first slot again
        await early.settle(in_hand)
        await _publish(publisher, "stepping")
        assert await _whose(early, late) is early


async def test_after_a_reconnect_a_busy_worker_has_no_first_slot(
    settings: RabbitMQ, publisher: Publisher
) -> None:
    await publisher.declare(["busy"])
    async with _slowly(settings) as through, consuming(through, "busy", slots=2, since=1.0) as busy:
        await _publish(publisher, "busy")
        in_hand, _ = await take(busy)
        await in_hand.channel.close()  # its session ends, and the job goes on
        again, _ = await take(busy)  # the broker sends the message once more, to the one free slot
        async with consuming(settings, "busy", slots=2, since=2.0) as idle:
            async with asyncio.timeout(20):
                while (await publisher.depth("busy")).consumers < 3:
                    await asyncio.sleep(0.05)
            await busy.settle(again)  # a copy of what it is at work on
            await _publish(publisher, "busy")
            assert await _whose(busy, idle) is idle


async def _whose(*consumers: Consumer) -> Consumer:
    """The one that got the next message."""
    taking = {asyncio.create_task(consumer.next()): consumer for consumer in consumers}
    done, waiting = await asyncio.wait(taking, timeout=20, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    return taking[done.pop()]


async def test_who_stops_is_told_of_every_message_that_is_here_already(
    settings: RabbitMQ, publisher: Publisher
) -> None:
    await publisher.declare(["leaving"])
    ids = [uuid7() for _ in range(6)]
    async with consuming(settings, "leaving", slots=4) as consumer:
        async with asyncio.timeout(20):
            await consumer.connected.wait()
        for job_id in ids:
            await publisher.publish("leaving", job_id, priority=5, traceparent=None)
        in_hand, first = await take(consumer)

        late = await consumer.stop()
        for delivery in (in_hand, *late):
            await consumer.settle(delivery)

        # What the broker has left is what nobody was told of: none is kept for this connection
        seen = {first, *(decode_hint(delivery.body).job_id for delivery in late)}
        async with asyncio.timeout(20):
            while (depth := await publisher.depth("leaving")).ready + len(seen) < len(ids):
                await asyncio.sleep(0.05)
        assert depth.consumers == 0


async def test_a_broker_that_is_away_is_unavailable_and_the_next_call_tries_again() -> None:
    async with open_publisher(
        RabbitMQ(url=SecretStr("amqp://127.0.0.1:1/"), timeout_s=2), name="test"
    ) as publisher:
        for _ in range(2):
            with pytest.raises(Unavailable):
                await publisher.publish("images", uuid7(), priority=5, traceparent=None)


@pytest.mark.parametrize(
    "call",
    [
        lambda publisher: _publish(publisher, "stuck"),
        lambda publisher: publisher.depth("stuck"),
        lambda publisher: publisher.ping(),
    ],
    ids=["publish", "depth", "ping"],
)
async def test_a_call_that_waits_while_the_heartbeats_fail_is_unavailable(
    settings: RabbitMQ, call: Callable[[Publisher], Awaitable[object]]
) -> None:
    """aiormq rejects it with a CancelledError, which would end the caller's task without a word."""
    patient = settings.model_copy(update={"heartbeat_s": 1, "timeout_s": 30})
    async with (
        _behind_proxy(patient) as (behind, proxy),
        open_publisher(behind, name="test") as publisher,
    ):
        await publisher.declare(["stuck"])
        proxy.change(Weather(black_hole=True))
        with pytest.raises(Unavailable):
            await call(publisher)
        proxy.change(Weather())
        await _publish(publisher, "stuck")


async def test_a_consumer_whose_heartbeats_fail_comes_back(settings: RabbitMQ, publisher: Publisher) -> None:
    await publisher.declare(["mute"])
    async with (
        _behind_proxy(settings.model_copy(update={"heartbeat_s": 1, "timeout_s": 30})) as (behind, proxy),
        consuming(behind, "mute") as consumer,
    ):
        await consumer.connected.wait()
        proxy.change(Weather(black_hole=True))
        await _step_down_until_lost(consumer)
        proxy.change(Weather())
        await _publish(publisher, "mute")
        delivery, _ = await take(consumer)
        await consumer.settle(delivery)


async def test_a_slot_whose_ack_found_no_way_to_the_broker_is_filled_again(
    settings: RabbitMQ, publisher: Publisher
) -> None:
    """The broker counts the message as in hand: a worker of one slot would look well, and idle."""
    await publisher.declare(["choked"])
    await _publish(publisher, "choked")
    async with consuming(settings, "choked") as consumer:
        delivery, first = await take(consumer)
        # Given an ack that meets a full queue of frames, on a connection that lives on
        full: asyncio.Queue[object] = asyncio.Queue(1)
        full.put_nowait(None)
        delivery.channel.write_queue, free = full, delivery.channel.write_queue  # type: ignore[attr-defined]
        await consumer.settle(delivery)
        delivery.channel.write_queue = free  # type: ignore[attr-defined]
        # Then its message comes again, and the row says that it is done
        again, second = await take(consumer)
        assert second == first
        await consumer.settle(again)
        await _publish(publisher, "choked")
        await consumer.settle((await take(consumer))[0])


async def _step_down_until_lost(consumer: Consumer) -> None:
    """So that the consumer has a call on its way when its connection ends."""
    consumer.step_down()
    async with asyncio.timeout(20):
        while consumer.connected.is_set():
            await asyncio.sleep(0.01)


async def test_a_dead_letter_keeps_body_and_reason(settings: RabbitMQ, publisher: Publisher) -> None:
    await publisher.dead_letter(b"\xff garbage", "not a hint")

    connection = await connect(settings, name="reader")
    async with connection, open_channel(connection) as channel:
        message = await channel.basic_get("leveret.dead", no_ack=True)
    assert message.body == b"\xff garbage"
    assert message.header.properties.headers == {"reason": "not a hint"}


async def _publish(publisher: Publisher, queue: str) -> None:
    await publisher.publish(queue, uuid7(), priority=5, traceparent=None)


@asynccontextmanager
async def _behind_proxy(settings: RabbitMQ) -> AsyncIterator[tuple[RabbitMQ, FaultProxy]]:
    """The same broker behind a network that can be told how to be."""
    parts = urlsplit(settings.url.get_secret_value())
    assert parts.port
    proxy = FaultProxy("rabbitmq", parts.port, Random(1))  # noqa: S311  chaos, not secrets
    [port] = free_ports(1)
    await proxy.start(port)
    account, at, _ = parts.netloc.rpartition("@")
    url = SecretStr(urlunsplit(parts._replace(netloc=f"{account}{at}{HOST}:{port}")))
    try:
        yield settings.model_copy(update={"url": url}), proxy
    finally:
        await proxy.stop()


@asynccontextmanager
async def _slowly(settings: RabbitMQ) -> AsyncIterator[RabbitMQ]:
    """The same broker behind a network that takes its time."""
    async with _behind_proxy(settings) as (behind, proxy):
        proxy.change(Weather(latency_s=(0.001, 0.01)))
        yield behind


async def _delete(settings: RabbitMQ, name: str) -> None:
    connection = await connect(settings, name="deleter")
    async with connection, open_channel(connection) as channel:
        await channel.queue_delete(name)
