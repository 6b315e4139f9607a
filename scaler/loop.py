"""The loop: every `interval_s`, whoever leads looks at all queues once and keeps each fleet.

Each queue has its turn on its own: while one waits for its cloud, all others are looked at as ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

import structlog

from scaler import gauges
from scaler.keeper import ACT, Keeper
from scaler.leader import Leader
from scaler.observer import Observer, Sight
from scaler.orders import StandingOrders
from scaler.ports import Clock
from scaler.turns import Turns

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
        self._turns = Turns()
        self._orphans: set[str] = set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Tick at once and then every `interval_s`, until `stopping` is set."""
        try:
            while not stopping.is_set():
                began = self._clock.now()
                await self.tick()
                took_s = self._clock.now() - began
                await self._clock.wait(stopping, max(0.0, self._interval_s - took_s))
        finally:
            await self._turns.call_off()

    async def tick(self) -> None:
        """One turn over all fleets; a scaler that stands by does nothing.

        It waits for them no longer than until the next tick; whoever is not done by then is left out of that.
        """
        if not await self._leader.lead():
            await self._turns.call_off()
            gauges.forget()
            return
        taken_at = self._clock.now()
        sight = await self._observer.look(keeper.queue for keeper in self._keepers)
        self._tell_orphans(sight)
        if self._orders:
            await self._orders.look()
        self._begin(sight, taken_at)
        if await self._turns.wait(self._interval_s) and self._leader.leading:
            gauges.looked()

    def _begin(self, sight: Sight, taken_at: float) -> None:
        for keeper in self._keepers:
            order = self._orders.of(keeper.queue) if self._orders else ACT
            self._turns.begin(keeper.queue, partial(keeper.keep, sight, taken_at, order), keeper.fail)

    def _tell_orphans(self, sight: Sight) -> None:
        """Jobs of a queue that no model names any more get no worker from here."""
        orphans = sight.queues - {keeper.queue for keeper in self._keepers}
        for queue in orphans - self._orphans:
            log.warning("scaler.queue_without_fleet", queue=queue)
        self._orphans = orphans
