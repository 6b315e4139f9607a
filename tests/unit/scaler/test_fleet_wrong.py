"""When things are wrong: the real loop, keeper and EC2 fleet on a cloud that misbehaves.

Each test says what must not happen: a busy worker ended, machines launched in a loop, a job left behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from scaler.offerings import Market, Rules, park
from shared.adapters.broker import QueueDepth
from shared.adapters.store.fleet import BacklogRow
from tests.fakes.cloud import Killed
from tests.fakes.estate import MENU, Estate, FakeRecords, Scaler, calm
from tests.fakes.fleet import FakeLock

pytestmark = pytest.mark.anyio

FAILING = "3 launches in a row or more came to nothing"


def most_within(moments: Sequence[float], seconds: float = 3600.0) -> int:
    return max((sum(at <= other < at + seconds for other in moments) for at in moments), default=0)


def cost_hours(estate: Estate) -> float:
    """Machine-hours that were paid for so far."""
    now = estate.clock.now()
    return sum(min(m.ended, now) - m.launched for m in estate.cloud.instances_by_id.values()) / 3600


async def serving(workers: int = 3, **options: Any) -> Scaler:
    """A scaler whose workers are all busy with long jobs."""
    given = Scaler(Estate(habits=calm(), service_s=3600.0), max=workers, **options)
    given.estate.submit(workers * 3)
    await given.turns(20)
    assert sum(worker.job is not None for worker in given.estate.workers.values()) == workers
    return given


def untouched(given: Scaler, workers: int = 3) -> bool:
    cloud = given.estate.cloud
    return len(cloud.alive) == workers == len(cloud.instances_by_id) and not cloud.terminated


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_one_launch_in_ten_fails_and_all_jobs_are_done(seed: int) -> None:
    given = Scaler(Estate(seed=seed))
    given.estate.submit(200)

    await given.until_done(200)
    await given.turns(60)

    assert given.estate.cloud.alive == []
    assert given.estate.killed_busy == []
    assert len(given.estate.cloud.launched_at) <= 20


# Data that is missing, stale, contradictory


@pytest.mark.parametrize(
    "away", [{"rows"}, {"workers"}, {"rows", "workers"}, {"rows", "workers", "ledger", "broker"}]
)
async def test_what_is_missing_ends_nobody_and_launches_nothing(away: set[str]) -> None:
    given = await serving()
    given.estate.away = away

    await given.turns(20)
    assert untouched(given)

    given.estate.away = set()
    await given.turns(4)
    assert untouched(given)


async def test_idle_workers_stay_while_nobody_knows_whether_there_is_work() -> None:
    given = Scaler(Estate(habits=calm()))
    given.estate.submit(3)
    await given.until_done(3)
    alive = len(given.estate.cloud.alive)
    given.estate.away = {"rows"}

    await given.turns(60)
    assert len(given.estate.cloud.alive) == alive > 0

    given.estate.away = set()
    await given.turns(30)
    assert given.estate.cloud.alive == []


async def test_figures_that_took_too_long_are_not_acted_on() -> None:
    class SlowRecords(FakeRecords):
        async def backlog(self) -> Sequence[BacklogRow]:
            self.estate.pass_time(200)
            return await super().backlog()

    given = Scaler(Estate(habits=calm()), records=SlowRecords)
    given.estate.submit(5)

    await given.turns(10)

    assert given.estate.cloud.launched_at == []
    assert {decision["want"] for decision in given.estate.decisions} == {None}


async def test_ready_workers_without_a_consumer_are_an_alarm_and_are_not_ended() -> None:
    class BlindBroker(FakeRecords):
        async def depth(self, queue: str) -> QueueDepth:
            return QueueDepth(ready=0, consumers=0)

    given = Scaler(Estate(habits=calm(), service_s=1e9), records=BlindBroker, max=2, min=2)
    await given.turns(30)

    assert any("no consumer" in alarm for alarm in given.alarms)
    assert untouched(given, 2)


async def test_rows_that_say_a_worker_runs_whose_machine_is_gone_are_closed() -> None:
    given = await serving()
    [first, *_] = given.estate.cloud.alive

    given.estate.cloud.interrupt(first)
    await given.turns(20)

    assert given.estate.buried == [first.id]
    assert len(given.estate.cloud.alive) == 3
    assert given.estate.killed_busy == []


# Servers that are away or refuse


async def test_without_the_database_nothing_is_changed_and_it_goes_on_afterwards() -> None:
    given = await serving()
    given.estate.away = {"rows", "workers", "ledger"}
    given.lock.away = True

    await given.turns(20)
    assert untouched(given)

    given.estate.away, given.lock.away = set(), False
    given.estate.service_s = 30.0
    for worker in given.estate.workers.values():
        worker.job = given.estate.clock.now()
    await given.until_done(9)
    assert given.estate.killed_busy == []


async def test_without_the_broker_the_rows_go_on_deciding() -> None:
    given = Scaler(Estate(habits=calm()))
    given.estate.away = {"broker"}
    given.estate.submit(20)

    await given.until_done(20)

    assert given.estate.killed_busy == []


async def test_a_cloud_that_does_not_list_is_left_alone() -> None:
    given = await serving()
    given.estate.cloud.away = {"list"}
    given.estate.submit(50)

    await given.turns(20)

    assert untouched(given)


@pytest.mark.parametrize("how", ["away", "throttled"])
async def test_a_cloud_that_does_not_launch_is_asked_less_and_less(how: str) -> None:
    given = Scaler(Estate(habits=calm()))
    setattr(given.estate.cloud, how, {"launch"})
    given.estate.submit(10)

    await given.turns(120)  # an hour
    assert given.estate.cloud.calls["launch"] <= 20
    assert FAILING in given.alarms

    setattr(given.estate.cloud, how, set())
    await given.until_done(10)
    assert len(given.estate.cloud.launched_at) <= 5


async def test_a_cloud_that_does_not_terminate_is_asked_again() -> None:
    given = Scaler(Estate(habits=calm()))
    given.estate.submit(3)
    await given.until_done(3)
    given.estate.cloud.away = {"terminate"}
    await given.turns(40)
    assert given.estate.cloud.alive

    given.estate.cloud.away = set()
    await given.turns(10)
    assert given.estate.cloud.alive == []


async def test_a_zone_that_fails_is_replaced_by_another() -> None:
    given = Scaler(Estate(habits=calm(), service_s=60.0))
    given.estate.submit(100)
    await given.turns(12)
    assert {m.place[1] for m in given.estate.cloud.alive} == {"a"}

    given.estate.cloud.lost = {"a"}
    await given.until_done(100)

    assert {m.place[1] for m in given.estate.cloud.alive} == {"b"}
    assert given.estate.killed_busy == []


async def test_no_spot_at_all_is_bought_on_demand() -> None:
    given = Scaler(Estate(habits=calm()))
    given.estate.cloud.quota["spot"] = 0
    given.estate.submit(20)

    await given.until_done(20)

    assert {m.place[2] for m in given.estate.cloud.instances_by_id.values()} == {"on-demand"}
    assert FAILING not in given.alarms


async def test_spot_that_is_taken_back_again_and_again_leaves_no_job_behind() -> None:
    given = Scaler(Estate(habits=calm(), service_s=60.0))
    given.estate.submit(60)

    for turn in range(200):
        await given.turns(1)
        if turn % 15 == 14 and given.estate.cloud.alive:
            given.estate.cloud.interrupt(given.estate.cloud.alive[0])
    await given.until_done(60)

    assert given.estate.killed_busy == []


# Launches that come to nothing


@pytest.mark.parametrize("broken", ["dies", "silent"])
async def test_an_image_that_never_serves_burns_no_money_in_a_loop(broken: str) -> None:
    given = Scaler(Estate(habits=calm()))
    given.estate.cloud.broken = broken
    given.estate.submit(50)

    await given.turns(480)  # four hours
    assert FAILING in given.alarms
    assert most_within(given.estate.cloud.launched_at) <= 25
    assert cost_hours(given.estate) < 4 * 5 * 0.35  # a third of what the limit of five machines allows

    given.estate.cloud.broken = ""
    await given.until_done(50)
    assert given.estate.killed_busy == []


async def test_workers_that_die_soon_after_they_are_ready_burn_no_money_in_a_loop() -> None:
    given = Scaler(Estate(habits=calm(), dies_after=8.0))
    given.estate.submit(50)

    await given.turns(480)

    assert FAILING in given.alarms
    assert most_within(given.estate.cloud.launched_at) <= 25


async def test_workers_that_die_after_a_while_are_bounded_by_the_hour() -> None:
    given = Scaler(Estate(habits=calm(boot_s=(5.0, 10.0)), dies_after=100.0, service_s=1e9), per_hour=30)
    given.estate.submit(50)

    await given.turns(240)

    assert most_within(given.estate.cloud.launched_at) <= 30
    assert any("more launches" in alarm for alarm in given.alarms)


async def test_a_scaler_that_restarts_all_the_time_has_no_more_to_spend() -> None:
    estate = Estate(habits=calm(boot_s=(5.0, 10.0)), dies_after=100.0, service_s=1e9)
    estate.submit(50)

    for _ in range(60):
        await Scaler(estate, per_hour=30).turns(4)

    assert most_within(estate.cloud.launched_at) <= 30


async def test_an_image_that_breaks_while_old_workers_serve_is_noticed_all_the_same() -> None:
    given = await serving(2)
    given.keeper._config = replace(given.keeper._config, max=6)
    given.estate.cloud.broken = "dies"
    before = len(given.estate.cloud.launched_at)

    await given.turns(240)  # two hours

    assert FAILING in given.alarms
    assert most_within(given.estate.cloud.launched_at[before:]) <= 25
    assert given.estate.killed_busy == []


async def test_a_template_that_is_wrong_is_tried_less_and_less() -> None:
    given = Scaler(Estate(habits=calm()))
    given.estate.cloud.wrong = "InvalidLaunchTemplateName.NotFoundException"
    given.estate.submit(50)

    await given.turns(240)

    assert FAILING in given.alarms
    assert given.estate.cloud.calls["launch"] <= 40


async def test_strangers_with_our_tag_are_told_and_left_alone() -> None:
    given = Scaler(Estate(habits=calm()))
    stranger = given.estate.cloud.plant("i-0bad", {"leveret:queue": "images"})

    await given.turns(60)

    assert stranger.alive
    assert given.estate.cloud.terminated == []
    assert given.alarms == {"not launched from here, though tagged as ours: i-0bad"}


async def test_a_thousand_strangers_are_told_in_a_few_words_and_nothing_else_changes() -> None:
    given = Scaler(Estate(habits=calm()), max=2)
    for number in range(1000):
        given.estate.cloud.plant(f"i-stranger-{number:04}", {"leveret:queue": "images"})
    given.estate.submit(2)
    await given.until_done(2)

    assert given.estate.cloud.terminated == []
    told = [alarm for alarm in given.alarms if "not launched from here" in alarm]
    named = ", ".join(f"i-stranger-000{number}" for number in range(5))
    assert told == [f"not launched from here, though tagged as ours: {named} and 995 more"]


# Time, restarts, two leaders


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("jump_s", [120.0, 3600.0, 86400.0])
async def test_a_clock_that_jumps_ends_nobody(jump_s: float, *, restarted: bool) -> None:
    given = await serving()
    if restarted:  # after an outage of hours the scaler looks before the workers were heard of again
        given.lock.lose()
        given = Scaler(given.estate, max=3)

    given.estate.clock.advance(jump_s)  # the scaler's machine slept: nobody was heard meanwhile
    await given.turns(1, every_s=1.0)
    for worker in given.estate.workers.values():
        assert worker.machine.alive
    await given.turns(5)

    assert untouched(given)


async def test_a_launch_whose_scaler_died_is_not_made_twice() -> None:
    estate = Estate(habits=calm(visible_s=200.0))
    first = Scaler(estate)
    estate.submit(2)
    estate.cloud.kill_caller = True
    with pytest.raises(Killed):
        await first.loop.tick()
    asked = len(estate.cloud.launched_at)
    estate.pass_time(5)

    second = Scaler(estate)  # knows nothing, and the cloud does not list them yet
    await second.turns(4)

    assert len(estate.cloud.launched_at) == asked > 0
    await second.until_done(2)


async def test_a_launch_whose_scaler_died_is_found_though_another_place_would_be_asked() -> None:
    estate = Estate(habits=calm(visible_s=100.0))
    first = Scaler(estate)
    cheapest = MENU.offerings(Market.SPOT)[:1]
    first.fleet._memory = park(first.fleet._memory, cheapest, Rules(), estate.clock.now())
    estate.submit(2)
    estate.cloud.kill_caller = True
    with pytest.raises(Killed):
        await first.loop.tick()
    asked = len(estate.cloud.launched_at)

    second = Scaler(estate)  # its first request differs, so it is refused, and the first one's is found
    await second.turns(10)

    assert len(estate.cloud.launched_at) == asked > 0


async def test_an_answer_that_is_lost_launches_once() -> None:
    given = Scaler(Estate(habits=calm()))
    given.estate.cloud.lose_answers = 2
    given.estate.submit(2)

    await given.until_done(2)

    assert len(given.estate.cloud.launched_at) <= 2


async def test_a_launch_without_an_answer_is_asked_for_again_for_no_more_than_is_wanted_by_then() -> None:
    given = Scaler(Estate(habits=calm()), max=5)
    given.estate.submit(5)
    given.estate.cloud.away = {"launch"}
    await given.turns(1)
    assert given.estate.decisions[-1]["actions"]["launch"] == 5

    given.estate.waiting.clear()
    given.estate.submit(1)
    given.estate.cloud.away = set()
    await given.turns(3)

    assert len(given.estate.cloud.alive) == 1


async def test_two_leaders_for_a_moment_launch_once() -> None:
    estate = Estate(habits=calm(visible_s=60.0))
    first, second = Scaler(estate, lock=FakeLock([])), Scaler(estate, lock=FakeLock([]))
    estate.submit(3)

    await asyncio.gather(first.loop.tick(), second.loop.tick())
    launched = len(estate.cloud.launched_at)
    estate.pass_time(5)
    await asyncio.gather(first.loop.tick(), second.loop.tick())
    await second.loop.tick()

    assert len(estate.cloud.launched_at) == launched <= 3
    await first.until_done(3)


async def test_a_standby_takes_over_within_a_tick_and_keeps_what_is_there() -> None:
    holder: list[FakeLock] = []
    estate = Estate(habits=calm(), service_s=3600.0)
    first, second = Scaler(estate, lock=FakeLock(holder)), Scaler(estate, lock=FakeLock(holder))
    estate.submit(5)
    await first.turns(20)
    there = len(estate.cloud.alive)
    await second.turns(1)

    first.lock.lose()
    first.lock.away = True
    estate.cloud.interrupt(estate.cloud.alive[0])
    looked = estate.cloud.calls["list"]
    await second.turns(1)
    assert estate.cloud.calls["list"] == looked + 1

    await second.turns(40)
    assert len(estate.cloud.alive) == there
    assert estate.killed_busy == []
