"""Small decisions of the doors: preferences, trace contexts, what can be stored, the words of problems."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.intake import parse
from gateway.problems import KINDS, Problems
from gateway.refusals import Malformed
from gateway.routes.jobs import _wait_s
from gateway.schemas import Submission, unstorable
from shared import errors
from shared.errors import InvalidJob, LeveretError


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ([], 0),
        (["wait=5"], 5),
        (['wait="5"'], 5),
        (["respond-async, wait=7; foo=bar"], 7),
        (["respond-async", "WAIT = 9"], 9),
        (["wait=100"], 60),
        (["wait=999999999999"], 0),
        (["wait=-1"], 0),
        (["wait=1.5"], 0),
        (["wait"], 0),
        (["await=5"], 0),
    ],
)
def test_a_preference_is_taken_where_it_is_one(prefer: list[str], seconds: int) -> None:
    assert _wait_s(prefer) == seconds


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_what_passes_can_be_stored_and_sent(value: Any) -> None:
    if not list(unstorable(value)):
        text = json.dumps(value, allow_nan=False)
        assert "\\u0000" not in text
        assert text.encode()


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_a_body_is_read_or_refused_and_nothing_else(body: bytes) -> None:
    with suppress(Malformed, InvalidJob):
        parse(Submission, body)


def test_every_error_a_caller_can_meet_has_words() -> None:
    met = [errors.InvalidJob([]), errors.IdempotencyConflict(), errors.NotFound(), errors.JobEnded()]
    met += [errors.Unavailable(), errors.OutcomeUnknown(), errors.StoreError(), errors.Misconfigured()]
    for error in met:
        assert error.code in KINDS


def test_an_error_without_words_is_no_fact_to_tell() -> None:
    class Secret(LeveretError):
        code = "not_listed"

    body = json.loads(bytes(Problems("http://here").of(Secret("host db-1 said no"), "id").body))
    assert (body["code"], body["status"]) == ("internal_error", 500)
    assert "db-1" not in str(body)
