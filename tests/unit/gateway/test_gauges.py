from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from prometheus_client import REGISTRY

from gateway.gauges import Gauges
from gateway.settings import Gateway
from shared.adapters.broker import QueueDepth
from shared.adapters.store.operations import LoadRow
from shared.errors import Unavailable

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 23, tzinfo=UTC)


@dataclass
class Rows:
    found: list[LoadRow] | None

    async def loads(self) -> list[LoadRow]:
        if self.found is None:
            raise Unavailable("PostgreSQL is away")
        return self.found


@dataclass
class Broker:
    depths: dict[str, QueueDepth]

    async def depth(self, queue: str) -> QueueDepth:
        if queue not in self.depths:
            raise Unavailable("RabbitMQ is away")
        return self.depths[queue]


@dataclass
class Paused:
    paused: bool
    changed_by: str = "acme/laptop"
    changed_at: datetime = NOW


@dataclass
class Pauses:
    held: dict[str, bool] | None

    async def pauses(self) -> dict[str, Paused]:
        if self.held is None:
            raise Unavailable("PostgreSQL is away")
        return {queue: Paused(held) for queue, held in self.held.items()}


def load(queue: str, priority: int, **counts: float) -> LoadRow:
    return LoadRow(
        queue=queue,
        priority=priority,
        waiting=int(counts.get("waiting", 0)),
        running=int(counts.get("running", 0)),
        scheduled=int(counts.get("scheduled", 0)),
        oldest_s=counts.get("oldest_s"),
    )


def shown(name: str, **labels: str) -> float:
    value = REGISTRY.get_sample_value(f"leveret_gateway_{name}", labels)
    assert value is not None, (name, labels)
    return value


def queued(queue: str, name: str) -> float:
    return shown("queue_jobs", queue=queue, state="queued", **{"class": name})


async def test_rows_are_told_by_class_and_the_broker_by_queue() -> None:
    # Given two priorities of one class, one of another, and a queue that nobody uses
    rows = Rows(
        [
            load("g1", 4, waiting=2, oldest_s=9.0),
            load("g1", 7, waiting=1, running=3, oldest_s=40.0),
            load("g1", 0, scheduled=5),
        ]
    )
    broker = Broker(
        {"g1": QueueDepth(ready=4, consumers=1), "g2": QueueDepth(ready=0, consumers=0)}
        | {"dead": QueueDepth(ready=6, consumers=0)}
    )
    # When somebody looks
    await Gauges(rows, broker, lambda: ["g2"], Pauses({"g2": True, "g1": False}), Gateway()).look()
    # Then what is there is told, and what is not is 0
    assert (queued("g1", "normal"), queued("g1", "high"), queued("g2", "low")) == (3, 0, 0)
    assert shown("queue_jobs", queue="g1", state="running", **{"class": "normal"}) == 3
    assert shown("queue_jobs", queue="g1", state="waiting", **{"class": "low"}) == 5
    assert shown("queue_oldest_age_seconds", queue="g1", **{"class": "normal"}) == 40
    assert shown("queue_oldest_age_seconds", queue="g1", **{"class": "low"}) == 0
    assert (shown("queue_messages", queue="g1"), shown("queue_consumers", queue="g1")) == (4, 1)
    assert (shown("queue_paused", queue="g1"), shown("queue_paused", queue="g2")) == (0, 1)
    assert shown("dead_letters") == 6
    assert shown("aging_bound_seconds", **{"class": "low"}) == 3600


async def test_what_is_not_known_is_no_figure_and_not_the_one_of_before() -> None:
    rows, broker = (
        Rows([load("g3", 5, waiting=1, oldest_s=2.0)]),
        Broker({"g3": QueueDepth(ready=1, consumers=1)}),
    )
    pauses = Pauses({})
    gauges = Gauges(rows, broker, lambda: ["g3"], pauses, Gateway())
    await gauges.look()
    assert queued("g3", "normal") == 1
    # When both servers are away
    rows.found, broker.depths, pauses.held = None, {}, None
    await gauges.look()
    # Then nothing is known
    assert math.isnan(queued("g3", "normal"))
    assert math.isnan(shown("queue_oldest_age_seconds", queue="g3", **{"class": "normal"}))
    assert math.isnan(shown("queue_consumers", queue="g3"))
    assert math.isnan(shown("dead_letters"))
    assert math.isnan(shown("queue_paused", queue="g3"))
    # And when they are back and the jobs gone, the queue is empty
    rows.found = []
    await gauges.look()
    assert queued("g3", "normal") == 0
