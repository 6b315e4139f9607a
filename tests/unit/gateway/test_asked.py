"""What callers ask of lists: cursors, ages, scopes, and the failures' line of bars."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.bulk.asked import BulkRequest, confirm_word
from gateway.client.cli.failures import bars
from gateway.lists.asked import JobFilter, ListQuery, read_cursor, write_cursor
from gateway.refusals import EmptyFilter, Forbidden
from shared.jobs import State
from shared.listing import first_id, last_id, moment_of

NOW = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)


@dataclass(frozen=True)
class Holder:
    role: str = "user"
    tenant: str = "acme"
    name: str = "laptop"
    s3_prefixes: tuple[str, ...] = ()


@given(st.uuids())
def test_a_cursor_is_read_as_it_was_written(job_id: UUID) -> None:
    assert read_cursor(write_cursor(job_id)) == job_id
    assert ListQuery(cursor=write_cursor(job_id)).before == job_id


@given(st.text(max_size=70))
def test_what_is_no_cursor_is_refused(text: str) -> None:
    try:
        found = read_cursor(text)
    except ValueError:
        with pytest.raises(ValidationError):
            ListQuery(cursor=text)
    else:
        assert write_cursor(found)[:21] == text[:21]


@given(st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(9000, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001  the strategy adds it
@example(datetime(3085, 1, 1, 0, 0, 0, 6993, tzinfo=UTC))
def test_the_ids_of_a_moment_lie_between_its_bounds(moment: datetime) -> None:
    low, high = first_id(moment), last_id(moment)
    assert low < high
    assert moment_of(low) == moment_of(high)
    assert timedelta(0) <= moment - moment_of(low) < timedelta(milliseconds=2)


@given(st.sampled_from("<>"), st.integers(0, 999_999_999), st.sampled_from("smhd"))
def test_any_age_is_a_bound(sign: str, number: int, unit: str) -> None:
    wanted = JobFilter(age=f"{sign}{number}{unit}").wanted(Holder(), NOW)
    bound = wanted.newest if sign == ">" else wanted.oldest
    assert bound is not None
    assert (wanted.oldest if sign == ">" else wanted.newest) is None
    assert bound <= last_id(NOW)


def test_the_later_of_two_beginnings_counts() -> None:
    since = NOW - timedelta(minutes=1)
    wanted = JobFilter(age="<1h", created_after=since).wanted(Holder(), NOW)
    assert wanted.oldest == first_id(since)


def test_every_tenants_jobs_are_for_operators() -> None:
    everybody = JobFilter(scope="all")
    assert everybody.wanted(Holder("operator")).tenant is None
    assert JobFilter().wanted(Holder("operator")).tenant == "acme"
    with pytest.raises(Forbidden):
        everybody.wanted(Holder())


@pytest.mark.parametrize(
    ("action", "said", "meant"),
    [
        ("retry", {"queue": "q"}, {State.FAILED, State.EXPIRED, State.CANCELED}),
        ("retry", {"state": ["succeeded"]}, {State.SUCCEEDED}),
        ("cancel", {"model": "m"}, {State.WAITING, State.QUEUED, State.RUNNING}),
        ("cancel", {"state": ["queued"]}, {State.QUEUED}),
    ],
)
def test_an_action_takes_the_states_that_are_meant(
    action: str, said: dict[str, object], meant: set[State]
) -> None:
    asked = BulkRequest.model_validate({"action": action, "filter": said})
    assert set(asked.settled().state) == meant


def test_a_filter_that_names_nothing_is_none() -> None:
    nothing: list[dict[str, object]] = [{}, {"scope": "all"}, {"state": []}, {"ids": []}, {"retried": "no"}]
    for said in nothing:
        with pytest.raises(EmptyFilter):
            BulkRequest.model_validate({"action": "cancel", "filter": said}).settled()


def test_a_retry_leaves_out_what_was_retried_unless_it_says_otherwise() -> None:
    for action, said, meant in (
        ("retry", {"queue": "q"}, False),
        ("retry", {"queue": "q", "retried": "any"}, None),
        ("retry", {"queue": "q", "retried": "yes"}, True),
        ("cancel", {"queue": "q"}, None),
    ):
        asked = BulkRequest.model_validate({"action": action, "filter": said})
        assert asked.settled().wanted(Holder()).retried is meant


def test_what_is_chosen_by_hand_is_what_the_store_is_asked_for() -> None:
    chosen = uuid4()
    asked = BulkRequest.model_validate({"action": "cancel", "filter": {"ids": [str(chosen)]}})
    assert asked.settled().wanted(Holder()).ids == (chosen,)


def test_how_long_ago_a_job_ended_is_a_moment() -> None:
    hour_ago = NOW - timedelta(hours=1)
    lately = JobFilter(ended="<1h").wanted(Holder(), NOW)
    assert (lately.ended_after, lately.ended_before) == (hour_ago, None)
    before = JobFilter(ended=">1h").wanted(Holder(), NOW)
    assert (before.ended_after, before.ended_before) == (None, hour_ago)


def test_the_word_is_the_name_of_what_it_is_done_to() -> None:
    assert confirm_word("retry", {"queue": "images", "model": "cutout"}) == "images"
    assert confirm_word("retry", {"model": "cutout"}) == "cutout"
    assert confirm_word("cancel", {"state": ["queued"]}) == "cancel"


@given(st.lists(st.integers(0, 10**6), max_size=24))
def test_bars_show_each_number_and_none_where_there_is_nothing(points: list[int]) -> None:
    drawn = bars(points)
    assert len(drawn) == len(points)
    assert [each == " " for each in drawn] == [point == 0 for point in points]
