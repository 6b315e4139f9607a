"""What a fleet costs an hour, before and after a decision; unknown is never nothing."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.snapshot import Config, Decision, Machine, Snapshot
from scaler.spending import Spending, spending

CONFIG = Config(max=9, per_hour=Decimal("0.5"))
PRICES = st.none() | st.decimals(0, 100, places=4)


def machine(name: str, price: str | None, **more: Any) -> Machine:
    return Machine(id=name, age_s=60.0, per_hour=None if price is None else Decimal(price), **more)


def decision(**more: Any) -> Decision:
    return Decision(want=1, have=1, reason="", **more)


def test_what_starts_is_added_and_who_leaves_is_not_counted_any_more() -> None:
    seen = Snapshot(
        taken_at=0.0,
        machines=(
            machine("a", "0.3"),
            machine("b", "1"),
            machine("c", "0.7"),
            machine("gone", "5", alive=False),
            machine("ordered", "5", paid=False),
        ),
    )
    found = spending(seen, decision(launch=2, drain=("b",), terminate=("c",)), CONFIG)

    assert found == Spending(now=Decimal("2.0"), unpriced=0, then=Decimal("1.3"), unpriced_then=0)


@pytest.mark.parametrize(
    ("prices", "now", "unpriced"),
    [((), Decimal(0), 0), ((None,), None, 1), ((None, "0.3"), Decimal("0.3"), 1), (("0",), Decimal(0), 0)],
)
def test_no_machine_costs_nothing_and_one_without_a_price_is_told(
    prices: tuple[str | None, ...], now: Decimal | None, unpriced: int
) -> None:
    seen = Snapshot(taken_at=0.0, machines=tuple(machine(f"m{n}", price) for n, price in enumerate(prices)))

    found = spending(seen, decision(), CONFIG)

    assert found is not None
    assert (found.now, found.unpriced) == (now, unpriced) == (found.then, found.unpriced_then)


def test_unknown_machines_cost_nobody_knows_what() -> None:
    assert spending(Snapshot(taken_at=0.0), decision(launch=1), CONFIG) is None


@given(prices=st.lists(PRICES), launch=st.integers(0, 5), price=PRICES, leaving=st.integers(0, 9))
def test_nothing_is_lost_between_now_and_then(
    prices: list[Decimal | None], launch: int, price: Decimal | None, leaving: int
) -> None:
    machines = tuple(Machine(id=str(n), age_s=1.0, per_hour=each) for n, each in enumerate(prices))
    found = spending(
        Snapshot(taken_at=0.0, machines=machines),
        decision(launch=launch, drain=tuple(map(str, range(leaving)))),
        Config(per_hour=price),
    )

    assert found is not None
    gone = [each for each in prices[:leaving] if each is not None]
    come = [] if price is None else [price] * launch
    assert (found.then or 0) == (found.now or 0) - sum(gone) + sum(come)
    assert found.unpriced_then <= found.unpriced + launch
