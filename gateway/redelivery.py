"""Notices messages that the broker lost, and bounds how long a low priority waits. Part of the relay.

A message counts as lost when

    - a job of the same queue and priority, published a minute later, runs already (it was overtaken), or
    - the queue held no ready message at two looks ten seconds apart, both half a minute after it was sent, or
    - the queue itself was gone, or
    - it was sent an hour ago, whatever else is known.

A false alarm costs one duplicate, which is a no-op; so this may guess, and must not miss.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol, TypeVar

import structlog
from prometheus_client import Counter

from gateway.repairs import Cause, repaired
from gateway.settings import Gateway
from shared.errors import Misconfigured, Unavailable

log = structlog.get_logger()

LOOK_S = 10.0
SENT_AGO_S = 30.0
OVERTAKEN_BY_S = 60.0
FORGOTTEN_S = 3600.0

PROMOTED = Counter(
    "leveret_gateway_relay_promotions_total", "Jobs raised to priority 10 for their wait", ["queue"]
)


class Silent(Protocol):
    """A queue with jobs that were published a while ago and are not claimed yet."""

    @property
    def queue(self) -> str:
        """The catalog's name."""

    @property
    def published_before(self) -> datetime:
        """When the youngest of them was published."""


S = TypeVar("S", bound=Silent)


class RedeliveryRows(Protocol[S]):
    """The rows; all raise Unavailable, those that mark also OutcomeUnknown."""

    async def overtaken(self, *, margin_s: float, forgotten_s: float) -> int:
        """Mark what was overtaken."""

    async def silent(self, *, after_s: float) -> Sequence[S]:
        """Queues to look at."""

    async def publish_again(self, silent: S) -> int:
        """Mark what the broker has no message for."""

    async def publish_all(self, queue: str) -> int:
        """Mark all of a queue."""

    async def promote(self, *, high_s: float, normal_s: float, low_s: float) -> dict[str, int]:
        """Raise what waited too long."""


class Depth(Protocol):
    """What the broker counts."""

    @property
    def ready(self) -> int:
        """Messages that no consumer holds."""


class Broker(Protocol):
    """The queues themselves."""

    async def depth(self, queue: str) -> Depth:
        """Look at one; raises Unavailable."""

    def vanished(self) -> list[str]:
        """Those that were not there when they were looked for."""

    def forget_vanished(self, queue: str) -> None:
        """Its messages are due again."""


class Redelivery:
    """One per relay.

    Args:
        rows: The rows.
        broker: The queues.
        bounds: How long each priority class may wait.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        rows: RedeliveryRows[S],
        broker: Broker,
        bounds: Gateway,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rows = rows
        self._broker = broker
        self._bounds = bounds
        self._clock = clock
        self._looked_at: float | None = None
        self._empty: dict[str, S] = {}

    async def check(self) -> None:
        """Do what is due: vanished queues at once, everything else every ten seconds.

        Raises:
            Unavailable: PostgreSQL is away.
            OutcomeUnknown: Its answer was lost.
        """
        for queue in self._broker.vanished():
            _found("queue_gone", await self._rows.publish_all(queue), queue=queue)
            self._broker.forget_vanished(queue)
        now = self._clock()
        if self._looked_at is not None and now - self._looked_at < LOOK_S:
            return
        self._looked_at = now
        _found("overtaken", await self._rows.overtaken(margin_s=OVERTAKEN_BY_S, forgotten_s=FORGOTTEN_S))
        await self._look_at_queues()
        await self._promote()

    async def _look_at_queues(self) -> None:
        before, self._empty = self._empty, {}
        for silent in await self._rows.silent(after_s=SENT_AGO_S):
            if not await self._is_empty(silent.queue):
                continue
            if silent.queue in before:
                count = await self._rows.publish_again(before[silent.queue])
                _found("queue_empty", count, queue=silent.queue)
            else:
                self._empty[silent.queue] = silent

    async def _is_empty(self, queue: str) -> bool:
        try:
            return (await self._broker.depth(queue)).ready == 0
        except (Unavailable, Misconfigured):  # unknown is not empty
            return False

    async def _promote(self) -> None:
        bounds = self._bounds
        promoted = await self._rows.promote(
            high_s=bounds.aging_high_s, normal_s=bounds.aging_normal_s, low_s=bounds.aging_low_s
        )
        for queue, count in promoted.items():
            PROMOTED.labels(queue).inc(count)
            log.info("relay.promoted", queue=queue, jobs=count)


def _found(why: Cause, count: int, **fields: str) -> None:
    if count:
        repaired(why, count)
        log.warning("relay.messages_lost", why=why, jobs=count, **fields)
