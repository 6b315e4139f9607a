"""What operators set of fleets: their limits win, a pause changes nothing, unknown is no leave to go on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from scaler.observer import Problems
from scaler.orders import Order, StandingOrders
from scaler.snapshot import Config, Decision
from shared.errors import Unavailable
from tests.fakes.estate import QUEUE, Estate, Scaler, calm

pytestmark = pytest.mark.anyio


@dataclass
class FakeOverride:
    min: int | None = None
    max: int | None = None
    paused: bool = False
    changed_by: str = "default/ann"


@dataclass
class FakeOrders:
    said: dict[str, FakeOverride] = field(default_factory=dict)
    away: bool = False

    async def overrides(self) -> Mapping[str, FakeOverride]:
        if self.away:
            raise Unavailable("PostgreSQL is away")
        return dict(self.said)


def scaler(orders: FakeOrders) -> Scaler:
    given = Scaler(Estate(habits=calm(), service_s=3600.0), max=3)
    given.loop._orders = StandingOrders(orders, Problems())
    return given


@pytest.mark.parametrize(
    ("order", "limits"),
    [
        (Order(), (1, 4)),
        (Order(min=2), (2, 4)),
        (Order(max=2), (1, 2)),
        (Order(min=3, max=8), (3, 8)),
        (Order(min=6), (6, 6)),  # above the setting's maximum: more was asked for
        (Order(max=0), (0, 0)),  # below the setting's minimum: less was asked for
    ],
)
def test_the_operators_limits_win(order: Order, limits: tuple[int, int]) -> None:
    limited = order.limit(Config(min=1, max=4))
    assert (limited.min, limited.max) == limits


def test_a_held_decision_does_nothing_and_says_why() -> None:
    decision = Decision(want=3, have=2, reason="", launch=1, drain=("a",), terminate=("b",), alarms=("c",))

    held = Order(hold="paused by default/ann").judge(decision)

    assert held == Decision(want=None, have=2, reason="hold: paused by default/ann", alarms=("c",))
    assert Order().judge(decision) is decision


async def test_a_minimum_starts_workers_without_any_job() -> None:
    orders = FakeOrders({QUEUE: FakeOverride(min=2)})
    given = scaler(orders)
    await given.turns(4)
    assert len(given.estate.cloud.alive) == 2

    orders.said[QUEUE] = FakeOverride()
    await given.turns(30)
    assert given.estate.cloud.alive == []


async def test_a_paused_fleet_stays_as_it_is() -> None:
    orders = FakeOrders({QUEUE: FakeOverride(paused=True)})
    given = scaler(orders)
    given.estate.submit(5)
    await given.turns(30)
    assert given.estate.cloud.launched_at == []
    assert {decision["reason"] for decision in given.estate.decisions} == {"hold: paused by default/ann"}

    orders.said[QUEUE] = FakeOverride()
    await given.turns(10)
    assert len(given.estate.cloud.alive) > 0


async def test_orders_hold_on_while_they_cannot_be_asked_for() -> None:
    orders = FakeOrders({QUEUE: FakeOverride(paused=True)})
    given = scaler(orders)
    given.estate.submit(5)
    await given.turns(2)

    orders.away = True
    await given.turns(10)

    assert given.estate.cloud.launched_at == []


async def test_orders_that_never_were_known_may_be_a_pause() -> None:
    orders = FakeOrders(away=True)
    given = scaler(orders)
    given.estate.submit(5)
    await given.turns(5)
    assert given.estate.cloud.launched_at == []

    orders.away = False
    await given.turns(5)
    assert len(given.estate.cloud.alive) > 0
