"""The scaler's rule, case by case."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from scaler.policy import backoff_s, decide
from scaler.snapshot import (
    UNKNOWN,
    Backlog,
    Bound,
    Broker,
    Config,
    Crew,
    Decision,
    Demand,
    Failures,
    Machine,
    Pace,
    Snapshot,
    Tier,
    Worker,
    WorkerState,
    tier_of,
)

NOW = 1000.0
CONFIG = Config(max=4)


def demand(waiting: int = 0, running: int = 0, oldest_s: float = 1.0) -> Demand:
    return Demand(
        tiers={Tier.NORMAL: Backlog(waiting=waiting, oldest_s=oldest_s, newest_s=oldest_s)}, running=running
    )


def ready(name: str, *, busy: int = 0, idle_s: float = 0.0, **told: Any) -> Worker:
    return Worker(
        id=name, state=WorkerState.READY, busy=busy, idle_s=None if busy else idle_s, since_s=idle_s, **told
    )


def in_state(name: str, state: WorkerState, since_s: float = 0.0, **told: Any) -> Worker:
    return Worker(id=name, state=state, since_s=since_s, idle_s=since_s, **told)


def machines(*names: str, age_s: float = 300.0) -> tuple[Machine, ...]:
    return tuple(Machine(id=name, age_s=age_s) for name in names)


def given(**parts: Any) -> Snapshot:
    known: dict[str, Any] = {
        "taken_at": NOW,
        "demand": demand(),
        "workers": (),
        "machines": (),
        "broker": Broker(ready=0, consumers=1),
    }
    return Snapshot(**(known | parts))


def decided(config: Config = CONFIG, **parts: Any) -> Decision:
    return decide(given(**parts), config, NOW)


@pytest.mark.parametrize(
    ("priority", "tier"), [(0, "low"), (3, "low"), (4, "normal"), (7, "normal"), (8, "high"), (10, "high")]
)
def test_every_priority_has_its_class(priority: int, tier: str) -> None:
    assert tier_of(priority) == tier


def test_jobs_that_nobody_may_be_started_for_are_told() -> None:
    shut = Config(max=0)
    assert decided(shut, demand=demand(waiting=3)).alarms == ("jobs wait, and 0 workers are allowed",)
    assert decided(shut).alarms == ()
    stranger = {"workers": (ready("somebody's", busy=1),)}
    assert decided(shut, demand=demand(waiting=3, running=1), **stranger).alarms == ()


def test_an_idle_stack_holds_no_worker() -> None:
    decision = decided()

    assert (decision.want, decision.have, decision.acts) == (0, 0, False)


def test_the_first_job_starts_one_worker() -> None:
    decision = decided(demand=demand(waiting=1))

    assert (decision.want, decision.launch) == (1, 1)
    assert decision.reason == (
        "1 waiting, 0 running (1 normal, oldest 1 s); here: nobody;"
        " normal: within the 479 s left to the last those here can start 0.0 of 1, one more 9.0"
        " (a job takes 30 s, a boot 240 s); 1 of at most 4 wanted; starting 1"
    )


def test_one_that_boots_is_counted() -> None:
    assert not decided(demand=demand(waiting=1), machines=machines("a", age_s=5)).acts


def test_a_job_that_runs_nowhere_wants_a_worker() -> None:
    assert decided(demand=demand(running=1)).launch == 1


def test_what_waits_is_met_up_to_the_maximum_a_step_at_a_time() -> None:
    late = demand(waiting=100, oldest_s=480)

    assert decided(demand=late).launch == 4
    assert decided(demand=late, config=Config(max=50)).launch == 5


def test_what_leaves_takes_room_until_it_is_gone() -> None:
    leaving = (in_state("a", WorkerState.DRAINING), ready("b", drain=True))
    decision = decided(
        demand=demand(waiting=9, oldest_s=480),
        workers=leaving,
        machines=machines("a", "b"),
        config=Config(max=2),
    )

    assert (decision.want, decision.have, decision.launch) == (2, 0, 0)
    assert "no room until others left" in decision.reason


def test_the_minimum_is_kept_without_work() -> None:
    decision = decided(config=Config(min=2, max=4))

    assert (decision.want, decision.launch) == (2, 2)


def test_an_idle_worker_is_asked_to_leave() -> None:
    workers = (ready("a", idle_s=130), ready("b", idle_s=20))
    decision = decided(workers=workers, machines=machines("a", "b"))

    assert (decision.drain, decision.want) == (("a",), 1)
    assert decision.reason.endswith("idle for 120 s, asked to leave: a")


def test_one_that_is_ready_only_now_stays_however_long_its_machine_had_nothing_to_do() -> None:
    fresh = Worker(id="a", state=WorkerState.READY, since_s=59, idle_s=300)

    assert not decided(workers=(fresh,), machines=machines("a")).drain
    assert decided(workers=(replace(fresh, since_s=60),), machines=machines("a")).drain == ("a",)
    # Where little patience is asked for, this is no reason for more.
    quick = Config(max=4, idle_s=1)
    assert decided(workers=(replace(fresh, since_s=1),), machines=machines("a"), config=quick).drain == ("a",)


def test_the_longest_idle_leave_first_and_the_minimum_stays() -> None:
    workers = (ready("a", idle_s=130), ready("b", idle_s=150), ready("c", idle_s=140))
    decision = decided(workers=workers, machines=machines("a", "b", "c"), config=Config(min=1, max=4))

    assert decision.drain == ("b", "c")


def test_nobody_leaves_while_a_job_waits() -> None:
    workers = (ready("a", idle_s=500), ready("b", idle_s=500))

    assert not decided(demand=demand(waiting=1), workers=workers, machines=machines("a", "b")).drain


def test_a_busy_worker_stays_while_an_idle_one_leaves() -> None:
    workers = (ready("a", busy=1), ready("b", idle_s=500))
    decision = decided(demand=demand(running=1), workers=workers, machines=machines("a", "b"))

    assert decision.drain == ("b",)
    assert not decision.terminate


def test_nobody_leaves_for_one_that_only_boots() -> None:
    workers = (ready("a", idle_s=500),)

    assert not decided(workers=workers, machines=machines("a", "b"), config=Config(min=1, max=2)).drain


def test_workers_that_somebody_else_started_count_and_stay() -> None:
    foreign = (ready("mine", idle_s=9999),)

    assert not decided(workers=foreign).acts
    assert not decided(demand=demand(waiting=1), workers=foreign).acts


def test_where_the_broker_sees_nobody_no_stranger_serves() -> None:
    dead = (ready("theirs", idle_s=5), ready("theirs-too", busy=1))
    deserted = Broker(ready=1, consumers=0, deserted=True)

    decision = decided(demand=demand(waiting=1), workers=dead, broker=deserted)
    assert (decision.have, decision.launch, decision.terminate) == (0, 1, ())
    # One look may fall into a reconnect; who starts does not consume yet; the fleet's own are its machines'.
    assert not decided(demand=demand(waiting=1), workers=dead, broker=Broker(ready=1, consumers=0)).launch
    assert not decided(demand=demand(waiting=1), workers=dead, broker=UNKNOWN).launch
    starting = (in_state("theirs", WorkerState.STARTING),)
    assert not decided(demand=demand(waiting=1), workers=starting, broker=deserted).launch
    own = decided(demand=demand(waiting=1), workers=(ready("a"),), machines=machines("a"), broker=deserted)
    assert not own.launch


def test_a_stranger_that_is_silent_is_no_capacity_but_never_ended() -> None:
    silent = (ready("theirs", busy=1, heartbeat_s=31),)
    heard = (ready("theirs", heartbeat_s=29),)

    decision = decided(demand=demand(waiting=1), workers=silent)
    assert (decision.launch, decision.terminate, decision.drain) == (1, (), ())
    assert not decided(demand=demand(waiting=1), workers=heard).launch
    assert not decided(demand=demand(waiting=1), workers=silent, machines=machines("theirs")).launch


def test_the_record_of_a_machine_that_ended_is_no_worker() -> None:
    ended = (Machine(id="a", age_s=50, alive=False),)

    assert decided(demand=demand(running=1), workers=(ready("a", busy=1),), machines=ended).launch == 1


def test_a_machine_is_terminated_once_its_worker_is_gone() -> None:
    gone = in_state("a", WorkerState.GONE, since_s=10)
    late = in_state("a", WorkerState.GONE, since_s=40)

    assert not decided(workers=(gone,), machines=machines("a")).acts
    assert decided(workers=(late,), machines=machines("a")).terminate == ("a",)


def test_a_worker_whose_end_is_announced_is_no_capacity_and_left_alone() -> None:
    noticed = (Machine(id="a", age_s=300, doomed=True), Machine(id="b", age_s=5, doomed=True))
    decision = decided(demand=demand(waiting=1), workers=(ready("a", idle_s=999),), machines=noticed)

    assert (decision.have, decision.launch, decision.drain, decision.terminate) == (0, 1, (), ())
    gone = (in_state("a", WorkerState.GONE, since_s=40),)
    assert decided(workers=gone, machines=noticed).terminate == ("a",)


def test_a_worker_that_never_comes_is_given_up() -> None:
    late = machines("a", age_s=721)

    assert decided(machines=late).terminate == ("a",)
    assert decided(machines=late, workers=(in_state("a", WorkerState.STARTING),)).terminate == ("a",)
    assert not decided(machines=late, workers=(ready("a"),)).terminate
    # Three usual boots it gets, and ten minutes in any case.
    assert not decided(machines=machines("a", age_s=719)).terminate
    assert decided(machines=machines("a", age_s=601), pace=Pace(boot_s=60)).terminate == ("a",)
    assert not decided(machines=machines("a", age_s=599), pace=Pace(boot_s=60)).terminate


def test_one_that_was_refused_is_given_up_at_once_and_never_where_a_worker_is_heard_of() -> None:
    refused = (Machine(id="a", age_s=61, paid=False, refused=True),)

    given_up = decided(demand=demand(waiting=1), machines=refused)
    assert (given_up.have, given_up.terminate) == (0, ("a",))
    assert not decided(machines=refused, workers=(ready("a", busy=1),)).terminate


def test_a_drain_that_hangs_is_ended_but_never_under_a_job() -> None:
    idle = in_state("a", WorkerState.DRAINING, since_s=200)
    busy = in_state("a", WorkerState.DRAINING, since_s=200, busy=1)

    assert decided(workers=(idle,), machines=machines("a")).terminate == ("a",)
    assert not decided(workers=(busy,), machines=machines("a")).terminate


@pytest.mark.parametrize(
    "worker",
    [
        in_state("a", WorkerState.DRAINING, 950, busy=1, leaving_s=950.0),
        ready("a", drain=True, leaving_s=950.0),  # it was asked, and never heard of it
    ],
)
def test_one_that_never_leaves_is_not_ended_but_told_and_named(worker: Worker) -> None:
    late = decided(machines=machines("a"), workers=(worker,))
    usual = decided(machines=machines("a"), workers=(replace(worker, leaving_s=850.0),))
    patient = decided(machines=machines("a"), workers=(worker,), config=Config(patience_s=7200))

    assert (late.terminate, late.late) == ((), ("a",))
    assert late.alarms == ("a was asked to leave more than 15 min ago and is still there",)
    assert "a was asked to leave more than 15 min ago" in late.reason
    assert usual.alarms == patient.alarms == usual.late == patient.late == ()


@pytest.mark.parametrize(
    ("config", "parts", "asked", "want", "bound"),
    [
        (Config(max=4), {"demand": demand(waiting=9, oldest_s=480)}, 9, 4, Bound.MAX),
        (Config(max=40), {"demand": demand(waiting=9, oldest_s=480)}, 9, 9, None),
        (Config(min=2, max=4), {}, 0, 2, Bound.MIN),
        (Config(max=4), {"workers": (ready("a", idle_s=5),), "machines": machines("a")}, 0, 1, None),
    ],
)
def test_it_is_told_what_the_jobs_ask_for_and_which_limit_holds(
    config: Config, parts: dict[str, Any], asked: int, want: int, bound: Bound | None
) -> None:
    decision = decided(config, **parts)

    assert (decision.asked, decision.want, decision.bound) == (asked, want, bound)


def test_it_is_told_who_serves_starts_and_leaves() -> None:
    here = (
        ready("a", busy=1),
        ready("b"),
        in_state("c", WorkerState.DRAINING),
        in_state("d", WorkerState.STARTING),
    )
    known = decided(workers=here, machines=machines("a", "b", "c", "d", "e"))

    assert known.crew == Crew(serving=2, starting=2, leaving=1)
    assert decided(workers=UNKNOWN).crew is None


def test_a_silent_worker_is_no_capacity_and_ends_only_when_the_broker_agrees() -> None:
    silent = (ready("a", busy=1, heartbeat_s=200),)
    nobody = Broker(ready=0, consumers=0)

    kept = decided(demand=demand(waiting=1), workers=silent, machines=machines("a"))
    assert (kept.have, kept.launch, kept.terminate) == (0, 1, ())
    assert not decided(workers=silent, machines=machines("a"), broker=UNKNOWN).terminate
    assert decided(workers=silent, machines=machines("a"), broker=nobody).terminate == ("a",)


def test_ready_without_a_consumer_is_a_contradiction() -> None:
    decision = decided(
        workers=(ready("a", idle_s=100),), machines=machines("a"), broker=Broker(ready=3, consumers=0)
    )

    assert decision.alarms == ("a reports ready, but the broker has no consumer on this queue",)


@pytest.mark.parametrize(("messages", "why"), [(0, "the broker has no message"), (3, "workers do not take")])
def test_jobs_that_wait_beside_idle_workers_are_a_contradiction(messages: int, why: str) -> None:
    broker = Broker(ready=messages, consumers=1)
    idle: dict[str, Any] = {
        "workers": (ready("a", idle_s=200),),
        "machines": machines("a"),
        "broker": broker,
    }

    [alarm] = decided(demand=demand(waiting=3, oldest_s=130), **idle).alarms
    assert why in alarm
    assert not decided(demand=demand(waiting=3, oldest_s=30), **idle).alarms
    busy = idle | {"workers": (ready("a", busy=1),)}
    assert not decided(demand=demand(waiting=3, running=1, oldest_s=130), **busy).alarms
    assert not decided(demand=demand(waiting=3, oldest_s=130), **(idle | {"broker": UNKNOWN})).alarms


@pytest.mark.parametrize("part", ["demand", "workers", "machines"])
def test_unknown_holds(part: str) -> None:
    known: dict[str, Any] = {
        "demand": demand(),
        "workers": (ready("a", idle_s=999),),
        "machines": machines("a"),
    }
    decision = decided(**(known | {part: UNKNOWN}))

    assert (decision.want, decision.have, decision.acts) == (None, 1, False)
    assert decision.reason.startswith("hold: ")


def test_an_unknown_broker_changes_nothing() -> None:
    assert decided(demand=demand(waiting=1), broker=UNKNOWN).launch == 1


def test_stale_figures_hold() -> None:
    assert decided(demand=demand(waiting=1), taken_at=NOW - 61).want is None


def test_rows_known_to_wait_get_one_worker_though_the_rest_is_unknown() -> None:
    assert decided(demand=demand(waiting=50), workers=UNKNOWN).launch == 1
    assert decided(demand=UNKNOWN, workers=UNKNOWN, broker=Broker(ready=50, consumers=0)).launch == 1
    assert not decided(demand=demand(waiting=50), workers=UNKNOWN, machines=machines("a")).acts
    assert not decided(demand=demand(waiting=50), machines=UNKNOWN).acts


def test_launches_that_fail_are_spaced_out() -> None:
    failing = Failures(count=4, last_at=NOW - 10)

    waits = decided(demand=demand(waiting=1), failures=failing)
    assert (waits.want, waits.launch) == (1, 0)
    assert "launches fail, next try in 6 s" in waits.reason
    assert decide(given(demand=demand(waiting=1), failures=failing, taken_at=NOW + 6), CONFIG, NOW + 6).launch
    assert [backoff_s(count, CONFIG) for count in (0, 1, 2, 3, 99)] == [0, 2, 4, 8, 300]


def test_limits_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="min <= max"):
        Config(min=2, max=1)
