"""Which launches count as failed, and when they are forgiven."""

from __future__ import annotations

from scaler.launches import Launches
from scaler.snapshot import UNKNOWN, Machine, Worker, WorkerState


def machine(age_s: float, *, alive: bool = True) -> tuple[Machine, ...]:
    return (Machine(id="a", age_s=age_s, alive=alive, exit="exit code 1"),)


def worker(state: WorkerState = WorkerState.READY, *, drain: bool = False) -> tuple[Worker, ...]:
    return (Worker(id="a", state=state, drain=drain),)


def test_one_that_dies_before_it_served_counts_once() -> None:
    launches = Launches("images")
    for now in (5.0, 6.0, 7.0):
        launches.watch(machine(0.5, alive=False), (), now)

    assert (launches.failures.count, launches.failures.last_at) == (1, 5.0)


def test_one_that_dies_soon_counts_though_it_was_ready() -> None:
    launches = Launches("images")
    launches.watch(machine(3), worker(), 3.0)
    launches.watch(machine(4, alive=False), worker(), 4.0)

    assert launches.failures.count == 1


def test_one_that_served_and_dies_late_is_no_failed_launch() -> None:
    launches = Launches("images")
    launches.watch(machine(1), worker(), 1.0)
    launches.watch(machine(11), worker(), 11.0)
    launches.watch(machine(12, alive=False), worker(), 12.0)

    assert launches.failures.count == 0


def test_one_that_was_asked_to_leave_is_no_failed_launch() -> None:
    launches = Launches("images")
    launches.watch(machine(4, alive=False), worker(WorkerState.GONE, drain=True), 4.0)

    assert launches.failures.count == 0


def test_one_that_ended_under_an_earlier_scaler_is_not_judged_again() -> None:
    launches = Launches("default")
    launches.watch((Machine(id="a", age_s=0.0, alive=False, inherited=True),), (), 1.0)
    assert launches.failures.count == 0


def test_a_worker_that_settles_forgives() -> None:
    launches = Launches("images")
    launches.failed("no capacity", 1.0)
    launches.watch(machine(5), worker(), 5.0)
    assert launches.failures.count == 1

    launches.watch(machine(15), worker(), 15.0)
    assert launches.failures.count == 0


def test_one_that_has_served_for_long_forgives_no_new_failure() -> None:
    launches = Launches("images")
    for now in (1.0, 20.0):
        launches.watch(machine(now), worker(), now)
    launches.failed("no capacity", 21.0)
    launches.watch(machine(30), worker(), 30.0)

    assert launches.failures.count == 1


def test_a_long_boot_is_no_service() -> None:
    launches = Launches("images")
    launches.watch(machine(200), worker(), 200.0)
    launches.watch(machine(205, alive=False), worker(), 205.0)

    assert launches.failures.count == 1


def test_after_three_failures_one_at_a_time_is_tried() -> None:
    launches = Launches("images")
    for now in (1.0, 2.0):
        launches.failed("no capacity", now)
    assert (launches.most, launches.alarms) == (None, ())

    launches.failed("no capacity", 3.0)
    assert launches.most == 1
    assert launches.alarms == ("3 launches in a row or more came to nothing",)


def test_a_worker_that_only_boots_forgives_nothing() -> None:
    launches = Launches("images")
    launches.failed("no capacity", 1.0)
    launches.watch(machine(100), worker(WorkerState.STARTING), 100.0)

    assert launches.failures.count == 1


def test_what_is_unknown_is_judged_later() -> None:
    launches = Launches("images")
    launches.watch(machine(1, alive=False), UNKNOWN, 1.0)
    launches.watch(UNKNOWN, (), 2.0)
    assert launches.failures.count == 0

    launches.watch(machine(1, alive=False), (), 3.0)
    assert launches.failures.count == 1
