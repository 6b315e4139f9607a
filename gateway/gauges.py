"""The queues on every gateway's metrics page: what waits and for how long, and whether anybody takes it.

A side task looks, so that no scrape waits for a server. Every replica tells the same: queries take the `max`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import structlog
from prometheus_client import Gauge

from gateway.operations.ports import Load, Pauses
from gateway.redelivery import PROMOTED
from gateway.relay import REPUBLISHED
from gateway.settings import Gateway
from shared.errors import Misconfigured, Unavailable
from shared.jobs import PRIORITY_CLASSES, class_of

log = structlog.get_logger()

LOOK_S = 10.0
DEAD = "dead"
"""As the broker's own queue of dead letters is called among those of the catalog."""

JOBS = Gauge("leveret_gateway_queue_jobs", "Live jobs; NaN while unknown", ["queue", "class", "state"])
OLDEST = Gauge(
    "leveret_gateway_queue_oldest_age_seconds", "How long the first in line has waited", ["queue", "class"]
)
MESSAGES = Gauge("leveret_gateway_queue_messages", "Messages that no worker holds", ["queue"])
CONSUMERS = Gauge("leveret_gateway_queue_consumers", "Consumers that the broker counts", ["queue"])
PAUSED = Gauge(
    "leveret_gateway_queue_paused", "1 while somebody holds the queue; NaN while unknown", ["queue"]
)
DEAD_LETTERS = Gauge("leveret_gateway_dead_letters", "Messages put aside for a person; NaN while unknown")
BOUND = Gauge(
    "leveret_gateway_aging_bound_seconds", "After such a wait a job is raised to priority 10", ["class"]
)


class Depth(Protocol):
    """What the broker counts of one queue."""

    @property
    def ready(self) -> int:
        """Messages that no consumer holds."""

    @property
    def consumers(self) -> int:
        """Consumers attached."""


class Broker(Protocol):
    """The queues themselves."""

    async def depth(self, queue: str) -> Depth:
        """Look at one; raises Unavailable."""


class Rows(Protocol):
    """The live jobs."""

    async def loads(self) -> Sequence[Load]:
        """By queue and priority; raises Unavailable."""


class Gauges:
    """One per gateway.

    Args:
        rows: The live jobs.
        broker: The queues.
        queues: The catalog's queues, as of now.
        pauses: Those that somebody holds.
        bounds: After which wait a job is raised.
        seen: Is told of the live jobs at each look that succeeds.
    """

    def __init__(
        self,
        rows: Rows,
        broker: Broker,
        queues: Callable[[], Iterable[str]],
        pauses: Pauses,
        bounds: Gateway,
        *,
        seen: Callable[[Sequence[Load]], None] = lambda _: None,
    ) -> None:
        self._rows = rows
        self._pauses = pauses
        self._broker = broker
        self._queues = queues
        self._seen = seen
        self._known: set[str] = set()
        by_class = {"high": bounds.aging_high_s, "normal": bounds.aging_normal_s, "low": bounds.aging_low_s}
        for name, bound_s in by_class.items():
            BOUND.labels(name).set(bound_s)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Look once; what cannot be known is NaN, and never the figure of before."""
        self._known.update(self._queues())
        await self._look_at_rows()
        await self._look_at_pauses()
        for queue in sorted(self._known):
            for counter in (PROMOTED, REPUBLISHED):  # 0 until there is something: no gap before the first
                counter.labels(queue)
            depth = await self._depth(queue)
            MESSAGES.labels(queue).set(depth.ready if depth else math.nan)
            CONSUMERS.labels(queue).set(depth.consumers if depth else math.nan)
        dead = await self._depth(DEAD)
        DEAD_LETTERS.set(dead.ready if dead else math.nan)

    async def _look_at_rows(self) -> None:
        try:
            loads = await self._rows.loads()
        except Unavailable as error:
            log.debug("gauges.unknown", reason=str(error))
            _show(dict.fromkeys(self._series(), math.nan), dict.fromkeys(self._lines(), math.nan))
            return
        self._seen(loads)
        self._known.update(load.queue for load in loads)
        jobs, oldest = dict.fromkeys(self._series(), 0.0), dict.fromkeys(self._lines(), 0.0)
        for load in loads:
            name = class_of(load.priority)
            for state, count in _states(load).items():
                jobs[load.queue, name, state] += count
            oldest[load.queue, name] = max(oldest[load.queue, name], load.oldest_s or 0.0)
        _show(jobs, oldest)

    async def _look_at_pauses(self) -> None:
        try:
            pauses = await self._pauses.pauses()
        except Unavailable:
            paused = dict.fromkeys(self._known, math.nan)
        else:
            held = {queue for queue, pause in pauses.items() if pause.paused}
            paused = {queue: float(queue in held) for queue in self._known}
        for queue, value in paused.items():
            PAUSED.labels(queue).set(value)

    def _lines(self) -> list[tuple[str, str]]:
        return [(queue, name) for queue in self._known for name in PRIORITY_CLASSES]

    def _series(self) -> list[tuple[str, str, str]]:
        return [(*line, state) for line in self._lines() for state in ("waiting", "queued", "running")]

    async def _depth(self, queue: str) -> Depth | None:
        try:
            return await self._broker.depth(queue)
        except (Unavailable, Misconfigured):
            return None


def _states(load: Load) -> Mapping[str, int]:
    """By the rows' own states; `waiting` is one whose time has not come."""
    return {"waiting": load.scheduled, "queued": load.waiting, "running": load.running}


def _show(jobs: Mapping[tuple[str, str, str], float], oldest: Mapping[tuple[str, str], float]) -> None:
    for series, count in jobs.items():
        JOBS.labels(*series).set(count)
    for line, age_s in oldest.items():
        OLDEST.labels(*line).set(age_s)
