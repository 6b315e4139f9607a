from __future__ import annotations

import pytest

from benchmarks.engine.arithmetic import Reading, Weight, busy_share, ceiling, pace_of, slope
from benchmarks.engine.plan import FULL
from benchmarks.tables import brackets, markdown


def test_a_pace_is_what_lies_between_two_readings() -> None:
    first = Reading(at=10.0, done=5, cpu_s={"worker": 1.0, "child": 0.5})
    last = Reading(at=12.0, done=105, cpu_s={"worker": 1.8, "child": 0.9})
    pace = pace_of(first, last)
    assert pace.rate == 50
    assert pace.cpu_ms == pytest.approx({"worker": 8.0, "child": 4.0})
    assert pace.cores == pytest.approx(0.6)


def test_a_process_that_started_in_between_has_used_all_it_has() -> None:
    pace = pace_of(Reading(0.0, 1, {}), Reading(1.0, 11, {"child": 0.1}))
    assert pace.cpu_ms == pytest.approx({"child": 10.0})


@pytest.mark.parametrize("last", [Reading(1.0, 5, {}), Reading(0.0, 9, {})])
def test_nothing_ended_is_no_pace(last: Reading) -> None:
    with pytest.raises(ValueError, match="nothing ended"):
        pace_of(Reading(0.0, 5, {}), last)


def test_a_device_in_batches_could_do_a_whole_batch_at_a_time() -> None:
    assert busy_share(45, raw_rate=50) == 0.9
    assert busy_share(200, raw_rate=50, batch=8) == 0.5


def test_the_cores_bound_what_a_device_can_be_given() -> None:
    assert ceiling(80, cores=2, raw_rate=50) == 0.5
    assert ceiling(10, cores=2, raw_rate=50) == 1.0


def test_a_slope_leaves_out_what_fills_pools_at_first() -> None:
    filling = [Weight(0, 50.0), Weight(1000, 80.0), Weight(2000, 90.0)]
    rising = [Weight(done, 90.0 + done / 1e6) for done in range(5000, 20_001, 1000)]
    assert slope([*filling, *rising]) == pytest.approx(1.0)


def test_one_moment_has_no_slope() -> None:
    with pytest.raises(ValueError, match="different numbers of jobs"):
        slope([Weight(1000, 90.0), Weight(1000, 91.0)])


def test_a_slow_device_gets_fewer_jobs_and_a_batch_more() -> None:
    assert [FULL.jobs_of(hold_ms) for hold_ms in (5, 20, 100, 1000)] == [120, 120, 50, 24]
    assert FULL.jobs_of(20, batch=8) == 240


def test_rounds_are_told_by_median_lowest_and_highest() -> None:
    assert brackets([1.0, 9.0, 2.0], 1) == "2.0 (1.0-9.0)"
    assert brackets([7.0]) == "7"


def test_a_table_is_padded() -> None:
    assert markdown([("a", "bb"), ("ccc", "d")]) == "| a   | bb |\n|-----|----|\n| ccc | d  |"
