"""taskiq on RabbitMQ with its Redis result backend: acknowledged when the result is saved, its default."""

from __future__ import annotations

from typing import Any

from taskiq.serializers import JSONSerializer
from taskiq_aio_pika import AioPikaBroker, Queue, QueueType
from taskiq_redis import RedisAsyncResultBackend

from benchmarks.engine.peers.addresses import BROKER, IN_HAND, MAX_PRIORITY, PRIORITY, QUEUE, RESULTS

_QUEUE = Queue(name=QUEUE, type=QueueType.CLASSIC, max_priority=MAX_PRIORITY)

broker = AioPikaBroker(
    BROKER,
    result_backend=RedisAsyncResultBackend(RESULTS, serializer=JSONSerializer()),
    qos=IN_HAND,
    task_queues=[_QUEUE],
)


async def _noop(value: Any) -> Any:
    return value


noop = broker.register_task(_noop, "noop", priority=PRIORITY)
