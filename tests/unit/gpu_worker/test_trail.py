"""What a message leaves in its job's trace, whatever clocks and engines say."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from gpu_worker.engine.calls import EngineResult
from gpu_worker.trail import NO_TRAIL, Trail, Trails
from shared.jobs import Claim
from shared.telemetry.tracecontext import Context, attempt_span_id, new_trace
from shared.telemetry.tracing import OFF, Ended, Kind, SampledTracing
from tests.unit.gpu_worker.claims import NOW, claim

CREATED = new_trace()


class Kept(list[Ended]):
    """The spans that were told."""

    def one(self, name: str) -> Ended:
        (found,) = (span for span in self if span.name == name)
        return found

    def names(self) -> list[str]:
        return [span.name for span in self]


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def trails(kept: Kept) -> Trails:
    return Trails(SampledTracing(kept.append, ratio=1.0), "leveret.quick")


def traced(**fields: Any) -> Claim:
    return claim(traceparent=str(CREATED), **fields)


def begun(trails: Trails, job: Claim) -> Trail:
    trail = trails.begin(str(CREATED))
    trail.claimed(job)
    return trail


def result(**fields: Any) -> EngineResult:
    return EngineResult({}, {"infer_s": 0.0}, "", **fields)


def ran(trail: Trail, made: EngineResult) -> None:
    with trail.stage("run") as run:
        trail.ran(run, made)


def test_an_attempt_is_one_span_below_the_message_and_linked_to_it(trails: Trails, kept: Kept) -> None:
    job = traced(fence=4, attempt=2)
    begun(trails, job).left("succeeded", "")
    told = kept.one("process leveret.quick")
    assert told.context == CREATED.child(attempt_span_id(job.id, 4))
    assert (told.parent, told.links, told.kind, told.error) == (CREATED, (CREATED,), Kind.CONSUMER, "")
    assert told.attributes["leveret.job.attempt"] == 2
    assert told.attributes["leveret.job.state"] == "succeeded"
    assert kept.one("claim").parent == told.context


def test_it_waited_as_long_as_the_database_says_by_the_workers_clock(trails: Trails, kept: Kept) -> None:
    begun(trails, traced(queued_at=NOW, started_at=NOW + timedelta(seconds=7)))
    wait = kept.one("wait")
    assert 6.5e9 < wait.end_ns - wait.start_ns <= 7e9
    assert wait.end_ns == kept.one("claim").start_ns
    assert abs(wait.end_ns - time.time_ns()) < 60e9


def test_a_clock_that_went_back_makes_no_wait_that_ends_before_it_began(trails: Trails, kept: Kept) -> None:
    begun(trails, traced(queued_at=NOW, started_at=NOW - timedelta(seconds=7)))
    wait = kept.one("wait")
    assert wait.start_ns == wait.end_ns


@pytest.mark.parametrize("moment", [math.nan, math.inf, -math.inf, 1e12, -1e300])
def test_moments_that_are_none_make_no_span(trails: Trails, kept: Kept, moment: float) -> None:
    trail = begun(trails, traced())
    ran(trail, result(began={"infer": moment}))
    ran(trail, replace(result(began={"infer": 1.0}), timings={"infer_s": moment}))
    assert kept.names() == ["wait", "claim", "run", "run"]


@pytest.mark.parametrize("moment", [0.0, -1e9, 9e9])
def test_forged_moments_stay_within_the_attempt(trails: Trails, kept: Kept, moment: float) -> None:
    trail = begun(trails, traced())
    ran(trail, result(began={"infer": moment}))
    run, infer = kept.one("run"), kept.one("infer")
    assert kept.one("claim").start_ns <= infer.start_ns <= infer.end_ns <= run.end_ns


def test_an_infer_is_linked_to_the_others_in_its_batch(trails: Trails, kept: Kept) -> None:
    trail = begun(trails, traced())
    others = [new_trace(), new_trace()]
    together = (others[0], trail.context, None, others[1])
    ran(trail, result(began={"infer": time.perf_counter()}, batch_size=4, together=together))
    assert list(kept.one("infer").links) == others
    assert kept.one("infer").attributes == {"leveret.batch.size": 4}


def test_a_message_that_finds_nothing_to_do_leaves_that(trails: Trails, kept: Kept) -> None:
    job = traced()
    trails.begin(str(CREATED)).refused(job.id, "running")
    (told,) = kept
    assert (told.name, told.parent) == ("process leveret.quick", CREATED)
    assert told.attributes["leveret.job.state"] == "running"
    assert "leveret.job.attempt" not in told.attributes


def test_the_span_of_an_attempt_that_counts_for_nothing_is_left_to_the_relay(
    trails: Trails, kept: Kept
) -> None:
    trail = begun(trails, traced())
    trail.left("discarded", "")
    assert kept.names() == ["wait", "claim", "discard"]
    assert kept.one("discard").parent == trail.context
    assert kept.one("discard").error == "fence_lost"


@pytest.mark.parametrize("said", [None, "", "nonsense", str(Context("1" * 32, "2" * 16, 0))])
def test_without_a_recorded_trace_nothing_is_told(trails: Trails, kept: Kept, said: str | None) -> None:
    trail = trails.begin(said)
    job = claim(traceparent=said)
    trail.refused(job.id, "running")
    trail.claimed(job)
    ran(trail, result(began={"infer": 1.0}))
    trail.left("succeeded", "")
    assert kept == []
    assert trail.context is None


def test_the_row_outweighs_a_copy_of_the_message_that_has_no_trace(trails: Trails, kept: Kept) -> None:
    trail = trails.begin(None)
    trail.claimed(traced())
    assert trail.context is not None
    assert kept.one("wait").parent == CREATED


def test_off_there_is_one_trail_for_all() -> None:
    assert Trails(OFF, "leveret.quick").begin(str(CREATED)) is NO_TRAIL
