"""The law's arithmetic, figure by figure."""

from __future__ import annotations

import pytest

from scaler.credit import Need, Times, boot_deadline_s, credit_of, left_s, needs, out_of_reach, times
from scaler.roles import Hand, Role, Roster
from scaler.snapshot import Backlog, Config, Demand, Pace, Tier

CONFIG = Config(max=50)
THIRTY = Times(service_s=30, boot_s=240)


def hands(*given: Hand) -> Roster:
    return Roster({str(number): hand for number, hand in enumerate(given)})


def need(roster: Roster, config: Config = CONFIG, running: int = 0, **waiting: tuple[int, float]) -> Need:
    tiers = {
        Tier(name): Backlog(waiting=count, oldest_s=age_s, newest_s=age_s)
        for name, (count, age_s) in waiting.items()
    }
    demand = Demand(tiers=tiers, running=running)
    return max(needs(demand, roster, THIRTY, config), key=lambda need: need.add)


def test_until_something_was_seen_the_priors_hold() -> None:
    assert times(Pace(), CONFIG) == Times(service_s=30, boot_s=240)
    learned = times(Pace(service_s=3, boot_s=100), CONFIG)
    assert learned.service_s == 3
    assert learned.boot_s == pytest.approx(110)


@pytest.mark.parametrize(("tier", "left"), [(Tier.HIGH, 86), (Tier.NORMAL, 470), (Tier.LOW, 2870)])
def test_the_time_left_is_what_the_objective_leaves_of_a_jobs_age(tier: Tier, left: float) -> None:
    assert left_s(tier, 10, CONFIG) == pytest.approx(left)
    assert left_s(tier, 5000, CONFIG) == 0


@pytest.mark.parametrize(
    ("hand", "credit"),
    [
        (Hand(role=Role.IDLE), 1 + 470 / 30),
        (Hand(role=Role.BUSY, busy=1), (470 - 15) / 30),
        (Hand(role=Role.BOOTING, age_s=0), 1 + (470 - 240) / 30),
        (Hand(role=Role.BOOTING, age_s=100), 1 + (470 - 140) / 30),
        (Hand(role=Role.BOOTING, age_s=500), 1 + 470 / 30),
        (Hand(role=Role.LEAVING, busy=1), 0),
        (Hand(role=Role.OVER), 0),
    ],
)
def test_each_is_worth_what_it_can_start_in_time(hand: Hand, credit: float) -> None:
    assert credit_of(hands(hand), 0, 470, THIRTY) == pytest.approx(credit)


def test_without_time_left_only_a_free_slot_counts_and_none_owes() -> None:
    late = hands(Hand(role=Role.IDLE), Hand(role=Role.BUSY, busy=1), Hand(role=Role.BOOTING, age_s=10))

    assert credit_of(late, 1, 0, THIRTY) == 2


def test_a_slot_is_taken_by_rows_that_no_heartbeat_has_told_of_yet() -> None:
    idle = hands(Hand(role=Role.IDLE), Hand(role=Role.IDLE))
    leaving = hands(*idle.hands.values(), Hand(role=Role.LEAVING, busy=1))

    assert credit_of(idle, 1, 60, THIRTY) == pytest.approx((1 + 2) + (2 - 0.5))
    assert credit_of(leaving, 1, 60, THIRTY) == pytest.approx(2 * (1 + 2))


def test_workers_are_added_by_what_a_fresh_one_is_worth() -> None:
    # 480 s left: one worker at work starts 15.5 of 40; a new one comes in 240 s and starts 9
    asked = need(hands(Hand(role=Role.BUSY, busy=1)), running=1, normal=(40, 0))

    assert (asked.tier, asked.waiting, asked.credit, asked.fresh) == (Tier.NORMAL, 40, 15.5, 9)
    assert asked.add == 3  # (40 - 15.5) / 9, rounded up


def test_what_fits_exactly_asks_for_no_more() -> None:
    assert need(hands(), normal=(18, 0)).add == 2
    assert need(hands(), normal=(19, 0)).add == 3


def test_a_class_counts_those_above_it_too() -> None:
    both = need(hands(), high=(2, 0), normal=(18, 0))

    # high alone: 96 s left, less than a boot, so each of the two gets a worker; all 20 within 480 s: three
    assert (both.tier, both.waiting, both.add) == (Tier.NORMAL, 20, 3)
    assert need(hands(), high=(5, 0), normal=(1, 0)).tier is Tier.HIGH
    assert need(hands(), low=(18, 0)).add == 1


def test_the_first_one_alone_has_its_own_time() -> None:
    """Jobs above it may keep every worker busy for ever."""
    busy = Hand(role=Role.BUSY, busy=1)
    low = Demand(tiers={Tier.LOW: Backlog(waiting=5, oldest_s=2900, newest_s=10)}, running=1)

    last, first = needs(low, hands(busy), THIRTY, CONFIG)
    assert (last.place, last.waiting, last.add) == ("last", 5, 0)
    assert (first.place, first.waiting, first.left_s, first.add) == ("first", 1, 0, 1)
    # One that comes for it, or has nothing to do, is enough.
    for other in (Hand(role=Role.BOOTING), Hand(role=Role.IDLE)):
        assert not any(need.add for need in needs(low, hands(busy, other), THIRTY, CONFIG))


def test_slots_multiply_what_a_new_worker_is_worth() -> None:
    assert need(hands(), Config(max=50, slots=4), normal=(36, 0)).add == 1


def test_a_boot_gets_three_times_what_it_usually_takes_and_ten_minutes_at_least() -> None:
    assert boot_deadline_s(Times(service_s=1, boot_s=100), CONFIG) == 600
    assert boot_deadline_s(Times(service_s=1, boot_s=420), CONFIG) == 1260


def test_an_objective_below_the_boot_is_out_of_reach_without_a_minimum() -> None:
    assert list(out_of_reach(THIRTY, CONFIG)) == [Tier.HIGH]
    assert not list(out_of_reach(THIRTY, Config(min=1, max=2)))
    assert not list(out_of_reach(Times(service_s=30, boot_s=3), CONFIG))
