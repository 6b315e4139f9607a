"""What is learned of service times and boots."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import structlog

from scaler.learning import Learning, Mean
from scaler.snapshot import UNKNOWN, Config, Machine, Pace, Worker, WorkerState
from shared.adapters.store.fleet import ServedRow

THEN = datetime(2026, 1, 1, tzinfo=UTC)


def served(queue: str, jobs: int, mean_s: float, minute: int = 0) -> ServedRow:
    return ServedRow(queue=queue, jobs=jobs, mean_s=mean_s, until=THEN + timedelta(minutes=minute))


def ready(name: str, since_s: float) -> Worker:
    return Worker(id=name, state=WorkerState.READY, since_s=since_s)


def test_the_first_figures_are_taken_as_they_are_and_later_ones_move_the_mean() -> None:
    mean = Mean(50)
    mean.add(10.0)
    mean.add(20.0)
    assert mean.value == 15.0

    mean.add(40.0, count=2)
    assert mean.value == 27.5
    mean.add(3.0, count=500)
    assert mean.value == 3.0


def test_each_queue_has_its_own_pace_and_nothing_is_known_at_first() -> None:
    given = Learning()
    assert given.pace_of("images") == Pace()

    given.serve([served("images", 3, 30.0, minute=1), served("quick", 9, 0.5, minute=2)])

    assert given.pace_of("images").service_s == 30.0
    assert given.pace_of("quick").service_s == 0.5
    assert given.served_until == THEN + timedelta(minutes=2)
    given.serve([])
    assert given.served_until == THEN + timedelta(minutes=2)


def test_a_boot_is_learned_once_from_the_worker_that_became_ready() -> None:
    given = Learning()
    machines = [Machine(id="a", age_s=200), Machine(id="b", age_s=50)]

    given.watch("images", machines, [ready("a", 20.0), Worker(id="b", state=WorkerState.STARTING)])
    assert given.pace_of("images").boot_s == 180.0
    given.watch("images", machines, [ready("a", 20.0), ready("stranger", 5.0)])
    given.watch("images", UNKNOWN, [ready("b", 1.0)])
    assert given.pace_of("images").boot_s == 180.0

    given.watch("images", [Machine(id="b", age_s=150)], [ready("b", 50.0)])
    assert given.pace_of("images").boot_s == 140.0
    assert given.pace_of("quick").boot_s is None


def test_an_objective_that_no_boot_can_meet_is_told_once() -> None:
    given = Learning({"images": Config(max=2), "kept": Config(min=1, max=2), "off": Config(max=0)})

    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            for queue in ("images", "kept", "off", "unknown"):
                given.pace_of(queue)

    [line] = lines
    assert (line["event"], line["queue"], line["tier"]) == ("scaler.objective_below_boot", "images", "high")
    assert (line["wait_s"], line["boot_s"]) == (120.0, 240)
