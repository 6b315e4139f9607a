"""Looking: the rows, the workers and the broker, each of which may be unknown."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import structlog

from scaler.learning import Learning
from scaler.ports import BacklogRow, Clock, Depths, Rows, ServedRow, WorkerRow
from scaler.snapshot import (
    UNKNOWN,
    Backlog,
    Broker,
    Demand,
    Machine,
    Pace,
    Tier,
    Unknown,
    Worker,
    WorkerState,
    tier_of,
)
from shared.errors import LeveretError

log = structlog.get_logger()

T = TypeVar("T")

GAP_S = 45.0
"""Longer than this between two looks is an outage."""
SETTLE_S = 30.0
"""What the workers get after one to be heard again: three heartbeats."""
ANSWER_S = 5.0
"""What any part may take before it counts as unknown; a tick has a dozen such questions at once."""


class Problems:
    """Says once that a part became unknown, and once that it is known again."""

    def __init__(self) -> None:
        self._failing: dict[str, str] = {}

    async def known(self, part: str, ask: Callable[[], Awaitable[T]]) -> T | Unknown:
        """What `ask` answers, or UNKNOWN."""
        try:
            async with asyncio.timeout(ANSWER_S):
                answer = await ask()
        except TimeoutError:
            return self._unknown(part, f"no answer within {ANSWER_S:g} s")
        except LeveretError as error:
            return self._unknown(part, str(error))
        if self._failing.pop(part, None) is not None:
            log.info("scaler.known_again", part=part)
        return answer

    def _unknown(self, part: str, why: str) -> Unknown:
        if part not in self._failing:
            log.warning("scaler.unknown", part=part, why=why)
        self._failing[part] = why
        return UNKNOWN


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen of all queues in one look."""

    backlog: Sequence[BacklogRow] | Unknown
    workers: Sequence[WorkerRow] | Unknown
    brokers: dict[str, Broker | Unknown]
    unheard_s: float = 0.0
    """Silence that no worker could have broken: taken off every heartbeat's age."""
    learning: Learning = field(default_factory=Learning)

    @property
    def queues(self) -> set[str]:
        """Every queue with live jobs, whether or not it has a fleet."""
        return set() if isinstance(self.backlog, Unknown) else {row.queue for row in self.backlog}

    def demand_of(self, queue: str) -> Demand | Unknown:
        """The queue's jobs by class."""
        if isinstance(self.backlog, Unknown):
            return UNKNOWN
        rows = [row for row in self.backlog if row.queue == queue]
        tiers = {tier: _backlog(row for row in rows if tier_of(row.priority) is tier) for tier in Tier}
        return Demand(tiers=tiers, running=sum(row.running for row in rows))

    def workers_of(self, queue: str) -> tuple[Worker, ...] | Unknown:
        """The queue's workers."""
        if isinstance(self.workers, Unknown):
            return UNKNOWN
        return tuple(_worker(row, self.unheard_s) for row in self.workers if row.queue == queue)

    def broker_of(self, queue: str) -> Broker | Unknown:
        """The queue as the broker sees it."""
        return self.brokers[queue]

    def pace_of(
        self, queue: str, machines: Iterable[Machine] | Unknown, workers: Iterable[Worker] | Unknown
    ) -> Pace:
        """What is known of the queue's times, its latest boots included."""
        self.learning.watch(queue, machines, workers)
        return self.learning.pace_of(queue)


class Outage:
    """Remembers the last gap in what was known of the workers.

    After an outage of the database every heartbeat is old at first, though nobody was lost.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heard_at: float | None = None
        self._gap_s = 0.0
        self._settled_at = 0.0

    def heard(self) -> float:
        """Note that the workers are known now; the seconds that no heartbeat is to be blamed for."""
        now = self._clock.now()
        if self._heard_at is not None and now - self._heard_at > GAP_S:
            self._gap_s, self._settled_at = now - self._heard_at, now + SETTLE_S
        self._heard_at = now
        return self._gap_s if now < self._settled_at else 0.0


class Observer:
    """Looks at all queues at once: three statements, and one question to the broker for each queue."""

    def __init__(
        self,
        rows: Rows,
        depths: Depths,
        problems: Problems,
        clock: Clock,
        learning: Learning | None = None,
    ) -> None:
        self._rows = rows
        self._learning = learning or Learning()
        self._outage = Outage(clock)
        self._depths = depths
        self._problems = problems
        self._without_consumer: set[str] = set()

    async def look(self, queues: Iterable[str]) -> Sight:
        """What can be known now."""
        names = list(queues)
        async with asyncio.TaskGroup() as looks:
            backlog = looks.create_task(self._problems.known("rows", self._rows.backlog))
            workers = looks.create_task(self._problems.known("workers", self._rows.workers))
            served = looks.create_task(self._problems.known("service times", self._served))
            brokers = {name: looks.create_task(self._broker(name)) for name in names}
        if not isinstance(rows := served.result(), Unknown):
            self._learning.serve(rows)
        return Sight(
            backlog.result(),
            workers.result(),
            {name: look.result() for name, look in brokers.items()},
            0.0 if isinstance(workers.result(), Unknown) else self._outage.heard(),
            self._learning,
        )

    async def _served(self) -> Sequence[ServedRow]:
        return await self._rows.served(self._learning.served_until)

    async def _broker(self, queue: str) -> Broker | Unknown:
        depth = await self._problems.known(f"broker {queue}", lambda: self._depths.depth(queue))
        before = queue in self._without_consumer
        self._without_consumer.discard(queue)
        if isinstance(depth, Unknown):
            return UNKNOWN
        if not depth.consumers:
            self._without_consumer.add(queue)
        return Broker(ready=depth.ready, consumers=depth.consumers, deserted=before and not depth.consumers)


def _backlog(rows: Iterable[BacklogRow]) -> Backlog:
    found = [row for row in rows if row.waiting]
    return Backlog(
        waiting=sum(row.waiting for row in found),
        oldest_s=max((row.oldest_s for row in found), default=0.0),
        newest_s=min((row.newest_s for row in found), default=0.0),
    )


def _worker(row: WorkerRow, unheard_s: float) -> Worker:
    return Worker(
        id=row.id,
        state=WorkerState(row.state),
        busy=row.busy,
        slots=row.slots,
        drain=row.drain,
        since_s=row.since_s,
        idle_s=row.idle_s,
        heartbeat_s=max(0.0, row.heartbeat_s - unheard_s),
    )
