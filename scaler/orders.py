"""What operators have set of single fleets, over the settings: limits, and that nothing is to be changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from scaler.observer import Problems
from scaler.ports import Orders, Override
from scaler.snapshot import Config, Decision, Unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What holds for one fleet.

    Attributes:
        min: Instead of the setting; None: the setting.
        max: Likewise.
        hold: Why nothing is to be changed; "" where the scaler may act.
    """

    min: int | None = None
    max: int | None = None
    hold: str = ""

    def limit(self, config: Config) -> Config:
        """The fleet's limits with the operator's in their place, who has the last word where they cross."""
        low = config.min if self.min is None else self.min
        high = config.max if self.max is None else self.max
        if low > high:
            low, high = (low, low) if self.max is None else (high, high)
        return replace(config, min=low, max=high)

    def ordered(self, config: Config) -> tuple[bool, bool]:
        """Whether it is behind the minimum, and the maximum: one may have had to make way for the other."""
        limited = self.limit(config)
        low, high = self.min is not None, self.max is not None
        return low or limited.min != config.min, high or limited.max != config.max

    def judge(self, decision: Decision) -> Decision:
        """The decision, or that it is held."""
        if not self.hold:
            return decision
        why = f"hold: {self.hold}"
        return replace(decision, want=None, reason=why, bound=None, launch=0, drain=(), terminate=())


class StandingOrders:
    """The orders as they were known last: they hold on while the database can't be asked."""

    def __init__(self, orders: Orders, problems: Problems) -> None:
        self._orders = orders
        self._problems = problems
        self._known: Mapping[str, Override] | None = None

    async def look(self) -> None:
        """Once a turn, for all queues."""
        found = await self._problems.known("orders", self._orders.overrides)
        if not isinstance(found, Unknown):
            self._known = found

    def of(self, queue: str) -> Order:
        """What holds for one fleet. Before any was known nothing is changed: it may be paused."""
        if self._known is None:
            return Order(hold="it is unknown whether somebody paused it")
        override = self._known.get(queue)
        if override is None:
            return Order()
        hold = f"paused by {override.changed_by}" if override.paused else ""
        return Order(min=override.min, max=override.max, hold=hold)
