"""The loop: every `interval_s`, whoever leads looks at all queues once and keeps each fleet."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from scaler import gauges
from scaler.keeper import ACT, Keeper
from scaler.leader import Leader
from scaler.observer import Observer, Sight
from scaler.orders import StandingOrders
from scaler.ports import Clock

log = structlog.get_logger()


class Loop:
    """Ticks until it is told to stop."""

    def __init__(
        self,
        keepers: Sequence[Keeper],
        observer: Observer,
        leader: Leader,
        clock: Clock,
        *,
        interval_s: float,
        orders: StandingOrders | None = None,
    ) -> None:
        self._keepers = keepers
        self._observer = observer
        self._leader = leader
        self._clock = clock
        self._interval_s = interval_s
        self._orders = orders
        self._orphans: set[str] = set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Tick at once and then every `interval_s`, until `stopping` is set."""
        while not stopping.is_set():
            await self.tick()
            await self._clock.wait(stopping, self._interval_s)

    async def tick(self) -> None:
        """One turn over all fleets; a scaler that stands by does nothing."""
        if not await self._leader.lead():
            gauges.forget()
            return
        taken_at = self._clock.now()
        sight = await self._observer.look(keeper.queue for keeper in self._keepers)
        self._tell_orphans(sight)
        if self._orders:
            await self._orders.look()
        for keeper in self._keepers:
            order = self._orders.of(keeper.queue) if self._orders else ACT
            await keeper.keep(sight, taken_at, order)
        gauges.looked()

    def _tell_orphans(self, sight: Sight) -> None:
        """Jobs of a queue that no model names any more get no worker from here."""
        orphans = sight.queues - {keeper.queue for keeper in self._keepers}
        for queue in orphans - self._orphans:
            log.warning("scaler.queue_without_fleet", queue=queue)
        self._orphans = orphans
