"""The simulator: what its world, its cloud and its baselines do, each on a few jobs."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks.sim import workload
from benchmarks.sim.baselines import Always, BacklogPerInstance, Depth, Keda
from benchmarks.sim.cloud import NOTICE_S, TYPE, ZONES, Boots, Cloud, Outage, Shortage, spot_shortages
from benchmarks.sim.every_job import EveryJob
from benchmarks.sim.figures import measure
from benchmarks.sim.ideas import by_the_first
from benchmarks.sim.ours import Ours, config
from benchmarks.sim.patience import Surplus, cheapest
from benchmarks.sim.scenarios import Scenario
from benchmarks.sim.workload import Workload
from benchmarks.sim.world import Policy, World
from scaler.offerings import Market, Offering
from scaler.policy import decide
from scaler.snapshot import Tier

STEADY = Cloud(boots=Boots(100))


def jobs(*arrivals: float, service_s: float = 30.0) -> Workload:
    return Workload(arrivals, [service_s] * len(arrivals), [Tier.NORMAL] * len(arrivals), "a test")


def ran(work: Workload, policy: Policy, cloud: Cloud = STEADY) -> World:
    world = World(work, cloud, policy)
    world.run()
    return world


def test_every_job_is_done_and_every_machine_paid_for() -> None:
    world = ran(jobs(0, 10, 20), Always(1))

    # One machine from the first look on: 100 s of boot, give or take a tenth, then three jobs in a row
    waits = [wait for _, wait in world.waits()]
    assert 90 <= waits[0] <= 110
    assert waits[1:] == pytest.approx([waits[0] + 20, waits[0] + 40])
    assert world.finished == 3
    assert world.tally.machine_s == pytest.approx(world.tally.cost_s)
    assert world.tally.machine_s >= waits[0] + 90


def test_the_same_run_comes_to_the_same_figures() -> None:
    scenario = Scenario("twice", workload.generated(count=300), 300)

    first, second = (measure(scenario, "ours", Ours(config(300, most=8), ZONES)) for _ in range(2))
    assert first == second


def test_keda_over_amqp_ends_workers_that_it_cannot_see_working() -> None:
    # A long job is no message any more once a worker has it
    seen = ran(jobs(0, service_s=1000), Keda(1, unacked=True, grace_s=30, most=4))
    unseen = ran(jobs(0, service_s=1000), Keda(1, unacked=False, grace_s=900, most=4))
    killed = World(jobs(0, 2000, service_s=1000), STEADY, Keda(1, unacked=False, grace_s=30, most=4))
    killed._until(0)
    for turn in range(45):
        killed._until(turn * 15.0)
        killed._turn()

    assert (seen.tally.killed_busy, unseen.tally.killed_busy) == (0, 0)
    assert killed.tally.killed_busy == 1
    assert killed.running + killed.waiting == 1  # the job is there again


def test_the_autoscaler_goes_up_by_four_and_down_after_five_minutes() -> None:
    policy = Keda(1, unacked=True, grace_s=600, most=64)
    world = World(jobs(*[0.0] * 20), STEADY, policy)
    counts = []
    for turn in range(10):
        world._until(turn * 15.0)
        world._turn()
        counts.append(len(world.boxes))

    assert counts[:6] == [0, 1, 5, 10, 20, 20]


def test_a_machine_for_every_message_leaves_after_its_minute() -> None:
    world = ran(jobs(0, 0, 0), Depth(most=2))

    assert (world.tally.most, world.tally.launches, world.boxes) == (2, 2, {})


def test_a_backlog_per_instance_adds_only_above_its_target() -> None:
    assert ran(jobs(*[0.0] * 8), BacklogPerInstance(10, most=9)).tally.most == 1
    assert ran(jobs(*[0.0] * 40), BacklogPerInstance(10, most=9)).tally.most > 2


def test_ours_starts_one_for_a_first_job_and_lets_it_go() -> None:
    world = ran(jobs(5), Ours(config(300, most=8), ZONES))

    assert (world.tally.launches, world.tally.killed_busy, world.boxes) == (1, 0, {})


def test_without_figures_ours_holds() -> None:
    blind = Ours(config(300, most=8), ZONES, blind=[(0, 600)])
    world = ran(jobs(*[0.0] * 40), blind)

    # One is started for what the broker counts; the others when the figures are back
    waits = sorted(wait for _, wait in world.waits())
    assert world.tally.most > 1
    assert waits[0] < 150
    assert waits[-1] > 600


def test_by_the_first_ones_deadline_more_machines_are_started() -> None:
    work = jobs(0, *[1000.0] * 4, *[1025.0 + 25 * number for number in range(10)])
    usual, first = (
        ran(work, Ours(config(300, most=20), ZONES, rule=rule)) for rule in (decide, by_the_first)
    )

    assert first.tally.launches > usual.tally.launches


def test_by_every_jobs_own_time_no_fewer_machines_are_started_than_by_the_law() -> None:
    work = jobs(*(3.0 * number for number in range(120)))
    limits = config(300, most=64)
    law, every = (ran(work, policy) for policy in (Ours(limits, ZONES), EveryJob(limits, ZONES)))
    assert every.tally.launches >= law.tally.launches
    assert every.finished == law.finished == 120


def test_patience_is_what_the_gaps_advise() -> None:
    assert cheapest([40.0] * 100, 180) == 45  # whoever waits for them saves a boot each time
    assert cheapest([4000.0] * 100, 180) == 0
    assert cheapest([40.0] * 5, 180) == 60  # too few to say


def test_a_surplus_worker_leaves_before_the_last_one() -> None:
    work = jobs(0.0, 1.0, 2.0, service_s=100.0)
    limits = config(100, most=3)
    usual, surplus = (ran(work, Ours(limits, ZONES, rule=rule)) for rule in (decide, Surplus(120, 10)))
    assert usual.tally.launches == surplus.tally.launches == 3
    assert surplus.tally.machine_s < usual.tally.machine_s


def test_a_zone_that_is_lost_takes_its_machines_and_their_jobs_are_done_elsewhere() -> None:
    cloud = Cloud(boots=Boots(100), outages=[Outage(zone, 115, 5000) for zone in ZONES[:3]])
    world = ran(jobs(*[0.0] * 12, service_s=200), Always(4), cloud)

    assert world.tally.taken_busy > 0
    assert world.finished == 12


def test_spot_is_short_by_its_record_and_taken_back_with_notice() -> None:
    shortage = Shortage((150.0, 900.0), 10_000.0)
    assert [shortage.short(at) for at in (0, 149, 150, 899, 900, 10_149, 10_151)] == [
        False,
        False,
        True,
        True,
        False,
        False,
        True,
    ]
    assert (shortage.next_start(0), shortage.next_start(200)) == (150, 10_150)

    cloud = Cloud(boots=Boots(100), zones=ZONES[:1], shortages={ZONES[0]: shortage})
    spot = Ours(config(300, most=1), ZONES[:1], spot=True, fallback=False)
    world = ran(jobs(0, service_s=200), spot, cloud)
    assert world.tally.taken_busy == 1
    assert world.tally.cost_s == pytest.approx(0.3 * world.tally.machine_s)
    assert cloud.taken_at(Offering(TYPE, ZONES[0], Market.ON_DEMAND), 0) is None
    assert NOTICE_S == 120


def test_on_demand_is_bought_where_spot_stays_short() -> None:
    never = {zone: Shortage((0.0, 10_000.0), 10_000.0) for zone in ZONES}
    world = ran(
        jobs(0), Ours(config(300, most=1), ZONES, spot=True), Cloud(boots=Boots(100), shortages=never)
    )

    assert world.finished == 1
    assert world.tally.cost_s == pytest.approx(world.tally.machine_s)


def test_machines_that_never_come_are_given_up() -> None:
    world = ran(jobs(0), Ours(config(300, most=2), ZONES), Cloud(boots=Boots(100, never=0.5)))

    assert world.finished == 1


def test_what_is_generated_resembles_what_was_recorded() -> None:
    made = workload.generated()
    hours = {int(at // 3600) for at in made.arrivals}

    assert len(made.arrivals) == 26_392
    assert 26 <= 3600 * made.busy_h / len(made.services) <= 31
    assert 0.25 <= 1 - len(hours) / (made.arrivals[-1] // 3600 + 1) <= 0.45
    assert workload.read(Path("/no/such/folder")).source.startswith("generated")


def test_recorded_requests_and_shortages_are_read(tmp_path: Path) -> None:
    (tmp_path / workload.REQUESTS).write_text("arrival_s,service_s\n5,10\n0,30\n")
    (tmp_path / f"spot_preemption_{ZONES[0]}.json").write_text(
        '{"metadata": {"gap_seconds": 10}, "data": [0, 1, 1, 0]}'
    )

    assert list(workload.read(tmp_path).arrivals) == [0, 5]
    assert spot_shortages(tmp_path)[ZONES[0]] == Shortage((10.0, 30.0), 40.0)


def test_boots_differ_and_some_never_end() -> None:
    rng = random.Random(1)  # noqa: S311  nothing secret: the same draw every time
    boots = [Boots(100, tail=0.1, never=0.1).draw(rng) for _ in range(500)]

    assert 20 < boots.count(None) < 80
    assert all(90 <= boot_s <= 110 or 270 <= boot_s <= 330 for boot_s in boots if boot_s is not None)
