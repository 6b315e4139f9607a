"""Which jobs are worth going on with in the time that is left."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from gpu_worker.triage import InHand, rest_s, too_long

SECONDS = st.floats(min_value=0, max_value=1e5)
jobs = st.lists(
    st.builds(
        InHand,
        id=st.uuids(),
        elapsed_s=SECONDS,
        progress=st.floats(min_value=0, max_value=1),
        past_s=st.lists(SECONDS, max_size=8),
        computed=st.booleans(),
    ),
    unique_by=lambda job: job.id,
    max_size=8,
)


@given(jobs=jobs, one_s=SECONDS, other_s=SECONDS)
def test_less_time_gives_back_more(jobs: list[InHand], one_s: float, other_s: float) -> None:
    less, more = sorted((one_s, other_s))
    assert too_long(jobs, more) <= too_long(jobs, less)


@given(jobs=jobs, left_s=SECONDS)
def test_each_job_is_judged_by_itself(jobs: list[InHand], left_s: float) -> None:
    alone = [job_id for job in jobs for job_id in too_long([job], left_s)]
    assert too_long(jobs, left_s) == set(alone)


@given(jobs=jobs)
def test_without_a_deadline_nothing_is_given_back_and_after_it_everything(jobs: list[InHand]) -> None:
    assert too_long(jobs, math.inf) == set()
    assert too_long(jobs, -0.001) == {job.id for job in jobs}


@given(jobs=jobs)
def test_what_only_has_to_be_stored_stays(jobs: list[InHand]) -> None:
    assert too_long(jobs, 0.0).isdisjoint(job.id for job in jobs if job.computed)


@given(
    elapsed_s=SECONDS,
    left_s=st.floats(min_value=1, max_value=1e4),
    parts=st.lists(st.floats(min_value=0.001, max_value=0.999), min_size=1, max_size=8),
)
def test_what_every_longer_run_would_have_made_stays(
    elapsed_s: float, left_s: float, parts: list[float]
) -> None:
    past = [elapsed_s + part * left_s for part in parts]
    assert too_long([in_hand(elapsed_s, past_s=past)], left_s) == set()


@given(left_s=st.floats(min_value=1, max_value=1e4), took=st.floats(min_value=0.001, max_value=0.49))
def test_a_job_just_begun_of_which_nothing_is_known_gets_half_of_the_time(left_s: float, took: float) -> None:
    assert not gone_at(left_s, took * left_s)
    assert gone_at(left_s, 0.51 * left_s)


def gone_at(left_s: float, passed_s: float) -> bool:
    return bool(too_long([in_hand(passed_s)], left_s - passed_s))


def in_hand(elapsed_s: float, *, progress: float = 0.0, past_s: list[float] | None = None) -> InHand:
    return InHand(id=uuid7(), elapsed_s=elapsed_s, progress=progress, past_s=past_s or [])


@pytest.mark.parametrize(
    ("job", "rest"),
    [
        (in_hand(3600), 3600),
        (in_hand(1), 1),
        (in_hand(90, progress=0.9), 10),
        (in_hand(90, progress=1.0), 0),
        (in_hand(2, past_s=[10, 10, 10, 60]), 8),
        (in_hand(2, past_s=[0.1] * 50 + [10]), 8),
        (in_hand(20, past_s=[10, 10, 10, 60]), 40),
        (in_hand(70, past_s=[10, 10, 10, 60]), 70),
        (in_hand(600, progress=0.95, past_s=[60, 3600]), 600 * 0.05 / 0.95),
        (in_hand(2, progress=0.1, past_s=[10]), 8),
    ],
    ids=[
        "an hour without a word may be half of it",
        "so may a second",
        "a tenth is left",
        "nothing is left",
        "three in four such runs were over by then",
        "what ended sooner says nothing of what did not",
        "nor do the shorter ones of one that is longer",
        "longer than all: nothing is known",
        "its own word against longer runs",
        "past runs against its own word",
    ],
)
def test_the_rest_that_is_assumed(job: InHand, rest: float) -> None:
    assert rest_s(job) == pytest.approx(rest)
