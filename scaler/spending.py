"""What a fleet costs an hour, now and after a decision. Pure: the standard library, no I/O, no clock.

Unknown is never zero: where a machine has no price, what is told is the cost of the others, and how many are
left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from decimal import Decimal

from scaler.snapshot import Config, Decision, Machine, Snapshot, Unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """Money an hour.

    Attributes:
        now: Of the machines that are there; None: not known of any.
        unpriced: Machines that `now` leaves out.
        then: When the decision is carried out: with what it starts, without who leaves.
        unpriced_then: Machines that `then` leaves out.
    """

    now: Decimal | None
    unpriced: int
    then: Decimal | None
    unpriced_then: int


def spending(snapshot: Snapshot, decision: Decision, config: Config) -> Spending | None:
    """What a decision costs an hour; None where the machines are unknown."""
    if isinstance(snapshot.machines, Unknown):
        return None
    prices = _prices(snapshot.machines)
    staying = _prices(snapshot.machines, leaving={*decision.drain, *decision.terminate})
    then = [*staying, *[config.per_hour] * decision.launch]
    return Spending(
        now=_sum(prices), unpriced=_unknown(prices), then=_sum(then), unpriced_then=_unknown(then)
    )


def _prices(machines: Iterable[Machine], leaving: Collection[str] = ()) -> list[Decimal | None]:
    return [each.per_hour for each in machines if each.alive and each.paid and each.id not in leaving]


def _sum(prices: Collection[Decimal | None]) -> Decimal | None:
    """Of no machine it is nothing, which is known."""
    known = [price for price in prices if price is not None]
    return None if prices and not known else sum(known, Decimal(0))


def _unknown(prices: Iterable[Decimal | None]) -> int:
    return sum(price is None for price in prices)
