"""What a look tells: the limits that held and whose they are, the number before and after them."""

from __future__ import annotations

import pytest

from scaler.looks import seen
from scaler.orders import Order
from scaler.snapshot import Bound, Config, Crew, Decision

SETTINGS = Config(min=1, max=4)
DECIDED = Decision(
    want=4, have=3, reason="", asked=6, bound=Bound.MAX, crew=Crew(serving=2, starting=1, leaving=1)
)


def test_a_look_tells_the_numbers() -> None:
    look = seen(DECIDED, SETTINGS, ordered=(False, True))

    assert (look.want, look.asked, look.bound) == (4, 6, "max")
    assert (look.serving, look.starting, look.leaving) == (2, 1, 1)
    assert (look.min, look.max, look.min_ordered, look.max_ordered) == (1, 4, False, True)


def test_what_is_unknown_is_none() -> None:
    look = seen(Decision(want=None, have=3, reason=""), SETTINGS, ordered=(False, False))

    assert (look.want, look.asked, look.bound, look.serving) == (None, None, None, None)


@pytest.mark.parametrize(
    ("order", "ordered"),
    [
        (Order(), (False, False)),
        (Order(max=8), (False, True)),
        (Order(min=0), (True, False)),
        (Order(min=6), (True, True)),  # the setting's maximum had to make way
        (Order(max=0), (True, True)),
        (Order(hold="paused"), (False, False)),
    ],
)
def test_it_is_known_whose_limits_hold(order: Order, ordered: tuple[bool, bool]) -> None:
    assert order.ordered(SETTINGS) == ordered
