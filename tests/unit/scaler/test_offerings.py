"""What is asked of the cloud next: spot first, what failed is parked, on-demand after a minute."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scaler.offerings import (
    Attempt,
    Market,
    Memory,
    Menu,
    Offering,
    Outcome,
    Quote,
    Rules,
    after,
    attempts,
    park,
)

RULES = Rules()
MENU = Menu(
    {"small": Quote(on_demand=1.0, spot=0.3, spot_in={"b": 0.2}), "big": Quote(on_demand=2.0, spot=0.5)},
    ("a", "b"),
)
SPOT = MENU.offerings(Market.SPOT)


def markets(memory: Memory, now: float, menu: Menu = MENU) -> list[Market]:
    return [attempt.market for attempt in attempts(menu, memory, RULES, now)]


def short(now: float, since: Memory | None = None) -> Memory:
    """Spot gave nothing at all."""
    return after(
        since or Memory(),
        Attempt(market=Market.SPOT, offerings=SPOT),
        Outcome(missing=1, failed=SPOT),
        RULES,
        now,
    )


def test_the_menu_is_types_times_zones_the_cheapest_first() -> None:
    assert (
        Offering("small", "b", Market.SPOT),
        Offering("small", "a", Market.SPOT),
        Offering("big", "a", Market.SPOT),
        Offering("big", "b", Market.SPOT),
    ) == SPOT
    assert [MENU.per_hour(offering) for offering in SPOT] == [0.2, 0.3, 0.5, 0.5]
    assert len(MENU.offerings(Market.ON_DEMAND)) == 4


def test_what_has_no_price_is_not_on_the_menu() -> None:
    menu = Menu({"small": Quote(on_demand=1.0)}, ("a",))

    assert menu.offerings(Market.SPOT) == ()
    assert menu.per_hour(Offering("small", "a", Market.SPOT)) is None
    assert menu.per_hour(Offering("small", "elsewhere", Market.ON_DEMAND)) is None
    assert menu.per_hour(Offering("other", "a", Market.ON_DEMAND)) is None


def test_a_launch_asks_for_spot_only() -> None:
    assert attempts(MENU, Memory(), RULES, 0.0) == (Attempt(market=Market.SPOT, offerings=SPOT),)


def test_a_menu_without_spot_is_on_demand_at_once() -> None:
    assert markets(Memory(), 0.0, Menu({"small": Quote(on_demand=1.0)}, ("a",))) == [Market.ON_DEMAND]


def test_what_failed_is_parked_for_three_minutes() -> None:
    failed, *others = SPOT
    first = Attempt(market=Market.SPOT, offerings=SPOT)
    memory = after(Memory(), first, Outcome(missing=0, failed=(failed,)), RULES, 100.0)

    assert attempts(MENU, memory, RULES, 279.9)[0].offerings == tuple(others)
    assert attempts(MENU, memory, RULES, 280.0)[0].offerings == SPOT


def test_on_demand_is_asked_for_after_a_minute_of_shortage() -> None:
    memory = short(100.0)

    assert markets(memory, 159.9) == [Market.SPOT]
    assert attempts(MENU, memory, RULES, 159.9)[0].offerings == ()
    assert markets(memory, 160.0) == [Market.SPOT, Market.ON_DEMAND]


def test_spot_comes_first_again_as_soon_as_it_is_free() -> None:
    memory = short(160.0, short(100.0))

    spot, on_demand = attempts(MENU, memory, RULES, 340.0)
    assert (spot.offerings, on_demand.market) == (SPOT, Market.ON_DEMAND)


def test_spot_that_gives_all_ends_the_shortage() -> None:
    memory = short(100.0)
    memory = after(memory, Attempt(market=Market.SPOT, offerings=SPOT), Outcome(missing=0), RULES, now=300.0)

    assert memory.short_for_s(RULES, 400.0) == 0
    assert markets(memory, 400.0) == [Market.SPOT]


def test_on_demand_that_gives_all_does_not_end_it() -> None:
    memory = after(
        short(100.0), Attempt(market=Market.ON_DEMAND, offerings=()), Outcome(missing=0), RULES, 170.0
    )

    assert memory.short_for_s(RULES, 200.0) == 100


def test_a_shortage_of_an_hour_ago_says_nothing() -> None:
    memory = short(100.0)

    assert markets(memory, 3700.0) == [Market.SPOT]
    assert short(3700.0, memory).short_since == 3700.0


def test_parking_forgets_what_is_over() -> None:
    memory = park(park(Memory(), SPOT[:1], RULES, 0.0), SPOT[1:2], RULES, 180.0)

    assert memory.parked == {SPOT[1]: 360.0}


@given(
    st.lists(
        st.tuples(
            st.floats(0, 400), st.integers(0, 3), st.lists(st.sampled_from(SPOT), max_size=4, unique=True)
        ),
        max_size=20,
    )
)
def test_whatever_happens_spot_is_first_and_nothing_parked_is_asked_for(
    steps: list[tuple[float, int, list[Offering]]],
) -> None:
    memory, now = Memory(), 0.0
    for passed_s, missing, failed in steps:
        now += passed_s
        first, *rest = attempts(MENU, memory, RULES, now)
        assert first.market is Market.SPOT
        assert not rest or memory.short_for_s(RULES, now) >= RULES.on_demand_after_s
        for attempt in (first, *rest):
            assert all(memory.parked.get(offering, 0.0) <= now for offering in attempt.offerings)
        memory = after(memory, first, Outcome(missing=missing, failed=tuple(failed)), RULES, now)
        assert memory.short_for_s(RULES, now) >= 0
