"""What a cloud offers and which offer to ask for next. Pure: the standard library, no I/O, no clock.

    attempts(menu, memory, rules, now) -> what to ask for, in this order
    after(memory, attempt, outcome, rules, now) -> the memory that the next launch is to start from

An offering is a type of machine in a zone on a market. Every new launch asks for spot first; what failed is
parked for a while; on-demand is asked for when spot has been short for a minute. The same functions run in
production and on a simulated clock.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace


class Market(enum.StrEnum):
    """How a machine is paid for: cheap and taken back at two minutes' notice, or at the full price."""

    SPOT = "spot"
    ON_DEMAND = "on-demand"


@dataclass(frozen=True, slots=True, order=True)
class Offering:
    """One thing that can be asked for, and be short of."""

    type: str
    zone: str
    market: Market


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What one type of machine costs, in money per hour.

    Attributes:
        on_demand: None: never to be had so.
        spot: In a zone that `spot_in` leaves out. None: never to be had so.
        spot_in: By zone, where the zones differ.
    """

    on_demand: float | None = None
    spot: float | None = None
    spot_in: Mapping[str, float] = field(default_factory=dict)

    def per_hour(self, zone: str, market: Market) -> float | None:
        """The price in a zone, or None where it is not to be had."""
        return self.on_demand if market is Market.ON_DEMAND else self.spot_in.get(zone, self.spot)


@dataclass(frozen=True, slots=True)
class Menu:
    """Everything that may be asked for: each type in each zone on each market, as far as there is a price."""

    quotes: Mapping[str, Quote]
    zones: tuple[str, ...]

    def offerings(self, market: Market) -> tuple[Offering, ...]:
        """Of one market, the cheapest first; the order is the same every time."""
        every = (Offering(name, zone, market) for name in self.quotes for zone in self.zones)
        found = {offering: price for offering in every if (price := self.per_hour(offering)) is not None}
        return tuple(sorted(found, key=lambda offering: (found[offering], offering)))

    def per_hour(self, offering: Offering) -> float | None:
        """What it costs, or None where it is not on the menu."""
        quote = self.quotes.get(offering.type)
        known = quote is not None and offering.zone in self.zones
        return quote.per_hour(offering.zone, offering.market) if quote and known else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Seconds.

    Attributes:
        park_s: How long a failed offering is left alone.
        on_demand_after_s: So long must spot have been short.
        forget_s: A shortage that nothing was heard of for so long is over.
    """

    park_s: float = 180.0
    on_demand_after_s: float = 60.0
    forget_s: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What earlier launches taught. Moments are on the clock of `now`.

    Attributes:
        parked: Until when an offering is left alone.
        short_since: When spot first gave too little, without having given enough since. None: it does not.
        short_at: When it did so last.
    """

    parked: Mapping[Offering, float] = field(default_factory=dict)
    short_since: float | None = None
    short_at: float = -math.inf

    def free(self, offerings: Iterable[Offering], now: float) -> tuple[Offering, ...]:
        """Those that are not parked, in the order given."""
        return tuple(offering for offering in offerings if self.parked.get(offering, -math.inf) <= now)

    def short_for_s(self, rules: Rules, now: float) -> float:
        """How long spot has been short; 0 while it is not."""
        if self.short_since is None or now - self.short_at > rules.forget_s:
            return 0.0
        return max(0.0, now - self.short_since)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One question to the cloud: as many machines as are missing, of any of these offerings.

    Empty where everything on the market is parked: there is nothing to ask, and the market is short.
    """

    market: Market
    offerings: tuple[Offering, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an attempt came to.

    Attributes:
        missing: Machines asked for less machines launched.
        failed: Offerings that the cloud named as short.
    """

    missing: int
    failed: tuple[Offering, ...] = ()


def attempts(menu: Menu, memory: Memory, rules: Rules, now: float) -> tuple[Attempt, ...]:
    """What a launch asks for, one after the other until nothing is missing.

    Spot always comes first, even where all of it is parked: the outcome of an empty attempt is that
    everything is missing, by which a shortage grows old. A menu without spot is on-demand from the start.
    """
    spot = menu.offerings(Market.SPOT)
    on_demand = Attempt(market=Market.ON_DEMAND, offerings=memory.free(menu.offerings(Market.ON_DEMAND), now))
    if not spot:
        return (on_demand,)
    first = Attempt(market=Market.SPOT, offerings=memory.free(spot, now))
    short = memory.short_for_s(rules, now) >= rules.on_demand_after_s
    return (first, on_demand) if short else (first,)


def after(memory: Memory, attempt: Attempt, outcome: Outcome, rules: Rules, now: float) -> Memory:
    """The memory with what an attempt taught: who is parked, and whether spot is short."""
    parked = park(memory, outcome.failed, rules, now)
    if attempt.market is Market.ON_DEMAND:
        return parked
    if outcome.missing <= 0:
        return replace(parked, short_since=None)
    going_on = memory.short_since if now - memory.short_at <= rules.forget_s else None
    return replace(parked, short_since=now if going_on is None else going_on, short_at=now)


def park(memory: Memory, offerings: Iterable[Offering], rules: Rules, now: float) -> Memory:
    """The memory with these left alone from now on, and without those whose time is over."""
    still = {offering: until for offering, until in memory.parked.items() if until > now}
    return replace(memory, parked=still | dict.fromkeys(offerings, now + rules.park_s))
