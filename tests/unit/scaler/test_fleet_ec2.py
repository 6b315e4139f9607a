"""The EC2 fleet on a cloud in memory: what is asked for, what is known of it, and what is never touched."""

from __future__ import annotations

import asyncio
import dataclasses
from decimal import Decimal
from typing import Any

import pytest
from prometheus_client import REGISTRY

from scaler.fleet.inventory import LAUNCH_TAG, QUEUE_TAG, Inventory
from scaler.offerings import Menu, Quote
from shared.errors import OutcomeUnknown, Unavailable
from tests.fakes.estate import QUEUE, Estate, Scaler, calm

pytestmark = pytest.mark.anyio

ON_DEMAND_ONLY = Menu({"small": Quote(on_demand=1.0)}, ("a",))


def fleet(estate: Estate | None = None, **options: Any) -> Scaler:
    return Scaler(estate or Estate(habits=calm()), **options)


def places(given: Scaler) -> list[tuple[str, str, str]]:
    return [instance.place for instance in given.estate.cloud.instances_by_id.values()]


async def test_spot_is_asked_for_first_and_the_cheapest_of_it() -> None:
    given = fleet()

    started = await given.fleet.launch(3, token="t")

    assert len(started) == 3
    assert set(places(given)) == {("small", "a", "spot")}


async def prices(given: Scaler) -> dict[str, Decimal | None]:
    return {each.id: each.per_hour for each in await given.fleet.machines() if each.alive and each.paid}


async def test_every_living_machine_has_its_price() -> None:
    given = fleet()
    given.estate.cloud.room[("small", "a", "spot")] = 1
    [cheap, other] = await given.fleet.launch(2, token="t")
    given.estate.cloud.plant("i-0bad", {QUEUE_TAG: QUEUE})
    given.estate.pass_time(10)
    assert await prices(given) == {cheap: Decimal("0.3"), other: Decimal("0.3")}

    given.estate.cloud.interrupt(given.estate.cloud.instances_by_id[cheap])
    assert await prices(given) == {other: Decimal("0.3")}


async def test_a_place_without_room_is_parked_and_the_next_one_asked() -> None:
    given = fleet()
    given.estate.cloud.room[("small", "a", "spot")] = 1

    assert len(await given.fleet.launch(3, token="t")) == 3
    assert places(given).count(("small", "b", "spot")) == 2

    given.estate.cloud.room.clear()
    await given.fleet.launch(1, token="u")
    assert places(given)[-1] == ("small", "b", "spot")
    given.estate.clock.advance(181)
    await given.fleet.launch(1, token="v")
    assert places(given)[-1] == ("small", "a", "spot")


async def test_no_spot_anywhere_becomes_on_demand_after_a_minute() -> None:
    given = fleet()
    given.estate.cloud.quota["spot"] = 1

    assert len(await given.fleet.launch(3, token="t")) == 1
    given.estate.clock.advance(30)
    assert await given.fleet.launch(2, token="u") == []
    given.estate.clock.advance(31)
    assert len(await given.fleet.launch(2, token="v")) == 2

    assert [market for _, _, market in places(given)] == ["spot", "on-demand", "on-demand"]


async def test_a_shortage_of_everything_is_an_alarm_and_no_error() -> None:
    given = fleet()
    given.estate.cloud.quota = {"spot": 0, "on-demand": 0}

    for token in "abc":
        assert await given.fleet.launch(1, token=token) == []
        given.estate.clock.advance(35)

    assert given.fleet.alarms() == ["the cloud is short of every offering on the menu that was asked for"]
    given.estate.clock.advance(180)
    assert given.fleet.alarms() == []


async def test_a_wrong_template_is_an_error_and_no_shortage() -> None:
    given = fleet()
    given.estate.cloud.wrong = "InvalidLaunchTemplateName.NotFoundException"

    with pytest.raises(Unavailable, match="InvalidLaunchTemplateName"):
        await given.fleet.launch(1, token="t")


async def test_what_is_not_listed_yet_counts() -> None:
    given = fleet()

    [name] = await given.fleet.launch(1, token="t")

    assert [(m.id, m.alive) for m in await given.fleet.machines()] == [(name, True)]
    given.estate.pass_time(20)
    [machine] = await given.fleet.machines()
    assert (machine.id, machine.age_s, machine.alive) == (name, 20, True)


async def test_what_never_is_listed_is_given_up() -> None:
    given = fleet(Estate(habits=calm(visible_s=1e9)))
    [name] = await given.fleet.launch(1, token="t")

    given.estate.clock.advance(301)
    [machine] = await given.fleet.machines()
    assert (machine.id, machine.alive, machine.inherited) == (name, False, False)

    given.estate.clock.advance(300)
    assert await given.fleet.machines() == []


async def test_the_same_token_launches_once_even_with_another_memory() -> None:
    estate = Estate(habits=calm())
    first, second = fleet(estate), fleet(estate)
    estate.cloud.room[("small", "a", "spot")] = 0
    await first.fleet.launch(1, token="s")  # teaches the first what to leave out
    estate.pass_time(10)

    [name] = await first.fleet.launch(1, token="t")
    with pytest.raises(OutcomeUnknown):  # known to have happened, and not on the list yet
        await second.fleet.launch(1, token="t")
    estate.pass_time(10)

    assert await second.fleet.launch(1, token="t") == [name]
    assert len(estate.cloud.alive) == 2


async def test_a_launch_that_was_made_and_started_nothing_is_over_after_a_while() -> None:
    estate = Estate(habits=calm())
    first, second = fleet(estate), fleet(estate)
    estate.cloud.quota["spot"] = 0
    await first.fleet.launch(1, token="t")
    second.fleet._memory = first.fleet._memory
    second.fleet._means = dataclasses.replace(second.fleet._means, menu=ON_DEMAND_ONLY)

    with pytest.raises(OutcomeUnknown):
        await second.fleet.launch(1, token="t")
    estate.pass_time(300)

    assert await second.fleet.launch(1, token="t") == []


async def test_a_lost_answer_is_asked_for_again_and_launches_once() -> None:
    given = fleet()
    given.estate.cloud.lose_answers = 1

    with pytest.raises(OutcomeUnknown):
        await given.fleet.launch(2, token="t")
    again = await given.fleet.launch(2, token="t")

    assert sorted(again) == sorted(given.estate.cloud.instances_by_id)
    assert len(again) == 2


async def test_the_cloud_is_asked_once_a_turn_for_all_queues() -> None:
    estate = Estate()
    inventory = Inventory(estate.cloud, ["one", "two", "three"], estate.clock)

    for _ in range(4):
        for queue in ("one", "two", "three"):
            await inventory.of(queue)

    assert estate.cloud.calls["list"] == 4


async def test_a_list_that_failed_is_not_replaced_by_an_older_one() -> None:
    estate = Estate()
    inventory = Inventory(estate.cloud, ["one", "two"], estate.clock)
    await inventory.of("one")
    estate.cloud.away = {"list"}

    for queue in ("one", "two"):
        with pytest.raises(Unavailable):
            await inventory.of(queue)


async def test_strangers_are_told_and_never_ended() -> None:
    given = fleet()
    cloud = given.estate.cloud
    cloud.plant("i-0bad", {QUEUE_TAG: QUEUE})
    cloud.plant("i-0odd", {QUEUE_TAG: "elsewhere", LAUNCH_TAG: "t"})
    given.estate.pass_time(10)

    assert await given.fleet.machines() == []
    assert given.fleet.alarms() == ["not launched from here, though tagged as ours: i-0bad, i-0odd"]
    await given.fleet.terminate(["i-0bad", "i-0odd"])

    assert cloud.calls["terminate"] == 0
    assert "not ours to end: i-0bad, i-0odd" in given.fleet.alarms()


async def test_an_end_is_not_asked_for_twice_while_the_list_lags() -> None:
    given = fleet()
    [name] = await given.fleet.launch(1, token="t")
    await given.fleet.machines()

    await given.fleet.terminate([name])
    await given.fleet.terminate([name])

    assert given.estate.cloud.calls["terminate"] == 1
    assert [machine.alive for machine in await given.fleet.machines()] == [True]
    given.estate.pass_time(10)
    [machine] = await given.fleet.machines()
    assert (machine.alive, machine.exit) == (False, "terminated: Client.UserInitiatedShutdown")


async def test_a_place_that_was_just_cleared_is_left_alone() -> None:
    given = fleet()
    [name] = await given.fleet.launch(1, token="t")
    given.estate.pass_time(10)
    await given.fleet.machines()

    given.estate.cloud.interrupt(given.estate.cloud.instances_by_id[name])
    await given.fleet.machines()
    await given.fleet.launch(1, token="u")

    assert places(given)[-1] == ("small", "b", "spot")


async def test_more_launches_than_allowed_are_refused() -> None:
    given = fleet(per_minute=3)

    assert len(await given.fleet.launch(2, token="t")) == 2
    assert len(await given.fleet.launch(5, token="u")) == 1
    with pytest.raises(Unavailable, match="more launches"):
        await given.fleet.launch(1, token="v")
    assert any("more launches" in alarm for alarm in given.fleet.alarms())


async def test_what_was_not_launched_is_not_counted() -> None:
    given = fleet(per_minute=3, menu=ON_DEMAND_ONLY)
    given.estate.cloud.room[("small", "a", "on-demand")] = 0

    await given.fleet.launch(3, token="t")
    given.estate.cloud.room.clear()
    given.estate.clock.advance(0)

    assert given.fleet._means.launches.take(3) == 3


async def test_one_that_is_about_to_be_taken_back_is_no_capacity_and_is_replaced_at_once() -> None:
    # Given two workers with a job each
    given = fleet(max=2)
    given.estate.service_s = 100_000.0
    given.estate.submit(2)
    await given.turns(12)
    doomed, other = given.estate.cloud.alive
    # When the cloud announces that it takes one of them back
    given.estate.cloud.warn(doomed)
    await given.turns(1)
    # Then it is seen, not counted, and not ended by us while it can still give its job back
    seen = {machine.id: machine.doomed for machine in await given.fleet.machines() if machine.alive}
    assert (seen[doomed.id], seen[other.id]) == (True, False)
    assert REGISTRY.get_sample_value("leveret_scaler_have_workers", {"queue": QUEUE}) == 1
    assert doomed.id not in given.estate.cloud.terminated
    # And when it is gone another one has its place, elsewhere
    await given.turns(6)
    assert doomed.reason == "Server.SpotInstanceTermination"
    assert len(given.estate.cloud.alive) == 2
    assert given.estate.killed_busy == []


async def test_a_doomed_machine_with_room_below_the_maximum_is_replaced_before_it_ends() -> None:
    given = fleet(max=3)
    given.estate.service_s = 100_000.0
    given.estate.submit(2)
    await given.turns(12)
    before = set(given.estate.cloud.instances_by_id)

    given.estate.cloud.warn(given.estate.cloud.alive[0])
    given.estate.submit(1)
    await given.turns(1)

    assert len(set(given.estate.cloud.instances_by_id) - before) == 1
    assert len(given.estate.cloud.alive) == 3


async def test_two_queues_at_once_share_one_budget() -> None:
    estate = Estate(habits=calm())
    first, second = Scaler(estate, per_minute=4).fleet, Scaler(estate).fleet
    second._queue = "quick"
    second._means = first._means

    started = await asyncio.gather(
        first.launch(3, token="t"), second.launch(3, token="u"), return_exceptions=True
    )

    assert sum(len(each) for each in started if not isinstance(each, BaseException)) == 4
    assert len(estate.cloud.launched_at) == 4
