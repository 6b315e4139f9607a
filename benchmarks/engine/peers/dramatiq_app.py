"""dramatiq on RabbitMQ with its Redis results: it always acknowledges after the actor has returned."""

from __future__ import annotations

from typing import Any

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from benchmarks.engine.peers.addresses import BROKER, MAX_PRIORITY, PRIORITY, QUEUE, RESULTS

broker = RabbitmqBroker(url=BROKER, max_priority=MAX_PRIORITY)
broker.add_middleware(Results(backend=RedisBackend(url=RESULTS)))  # type: ignore[no-untyped-call]
dramatiq.set_broker(broker)


def _noop(value: Any) -> Any:
    return value


noop = dramatiq.actor(actor_name="noop", queue_name=QUEUE, store_results=True)(_noop)


def send(value: Any) -> None:
    """Queue one; dramatiq's own priority is another thing than the broker's."""
    noop.send_with_options(args=(value,), broker_priority=PRIORITY)
