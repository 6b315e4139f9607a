"""W3C's `traceparent`: what is one, what is none, and what is kept of it."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.adapters.topology import queue_name
from shared.telemetry.conventions import destination
from shared.telemetry.tracecontext import Context, attempt_span_id, new_trace, parse_traceparent

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
HEX = st.text("0123456789abcdef", min_size=1, max_size=40)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (TRACE, TRACE),
        (TRACE[:-2] + "00", TRACE[:-2] + "00"),
        (TRACE[:-2] + "03", TRACE[:-2] + "03"),
        (TRACE[:-2] + "ff", TRACE[:-2] + "03"),  # flags that nobody knows are not passed on
        ("01" + TRACE[2:], TRACE),  # a later version is read as far as ours goes
        ("cc" + TRACE[2:] + "-what-the-future-will-be-like", TRACE),
        ("01" + TRACE[2:] + "-", TRACE),
    ],
)
def test_a_traceparent_is_read_and_written(text: str, kept: str) -> None:
    assert str(parse_traceparent(text)) == kept


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "00",
        TRACE.upper(),
        TRACE + "-more",  # version 00 has no more
        TRACE + "-",
        "ff" + TRACE[2:],
        "01" + TRACE[2:] + ".what",
        "00-" + "0" * 32 + TRACE[35:],
        TRACE[:36] + "0" * 16 + "-01",
        TRACE + "\n",
        " " + TRACE,
        TRACE + " ",
        TRACE.replace("-", "_"),
        TRACE[:-1],
        TRACE[:-1] + "g",
        TRACE[:-2] + "\u0661\u0661",  # digits, but not these
        "01" + TRACE[2:] + "-\x00",
        "01" + TRACE[2:] + "-" + "a" * 10_000,
        f"{TRACE},{TRACE}",
        "' or 1=1 --",
    ],
)
def test_what_is_no_traceparent_is_none(text: str | None) -> None:
    assert parse_traceparent(text) is None


@given(st.text(max_size=80) | st.builds("{}-{}-{}-{}".format, HEX, HEX, HEX, HEX))
def test_whatever_comes_is_a_context_or_none(text: str) -> None:
    found = parse_traceparent(text)
    assert found is None or parse_traceparent(str(found)) == found


def test_a_child_is_elsewhere_in_the_same_trace() -> None:
    parent = new_trace()
    child = parent.child()
    assert (child.trace_id, child.flags) == (parent.trace_id, parent.flags)
    assert child.span_id != parent.span_id
    assert parse_traceparent(str(child)) == child
    assert parent.sampled
    assert not Context(parent.trace_id, parent.span_id, 2).sampled


def test_an_attempts_id_follows_from_its_job_and_fence() -> None:
    job = UUID("019aa3e0-0000-7000-8000-000000000001")
    ids = [attempt_span_id(job, fence) for fence in (1, 2, 1)]
    assert ids[0] == ids[2] != ids[1]
    assert parse_traceparent(f"00-{'1' * 32}-{ids[0]}-01") is not None


def test_both_rooms_call_a_queue_the_same() -> None:
    assert destination("images") == queue_name("images")
