"""Spans are told when they end, in traces that are recorded, and say no more than they should."""

from __future__ import annotations

import subprocess
import sys

import pytest

from shared.errors import StoreError
from shared.telemetry.tracecontext import Context, new_trace
from shared.telemetry.tracing import NOTHING, OFF, Ended, Kind, SampledTracing

UNRECORDED = Context("1" * 32, "2" * 16, 0)


def tracing(kept: list[Ended], ratio: float = 1.0, chance: float = 0.5) -> SampledTracing:
    return SampledTracing(kept.append, ratio=ratio, chance=lambda: chance)


def test_a_span_is_told_once_it_has_ended() -> None:
    kept: list[Ended] = []
    above = new_trace()
    span = tracing(kept).span("fetch", above, attributes={"a": 1})
    assert kept == []
    span.note("b", "two")
    span.end()
    (told,) = kept
    assert (told.name, told.parent, told.attributes, told.error) == ("fetch", above, {"a": 1, "b": "two"}, "")
    assert told.context.trace_id == above.trace_id
    assert told.start_ns <= told.end_ns


def test_a_block_that_raises_leaves_its_code_and_none_of_its_words() -> None:
    kept: list[Ended] = []
    for error in (StoreError("s3://secret-bucket said no"), ValueError("hunter2")):
        with pytest.raises(type(error)), tracing(kept).span("store", new_trace()):
            raise error
    assert [told.error for told in kept] == ["store_error", "ValueError"]
    assert "secret" not in repr(kept)
    assert "hunter2" not in repr(kept)


@pytest.mark.parametrize("above", [None, UNRECORDED])
def test_without_a_recorded_trace_nothing_is_told(above: Context | None) -> None:
    kept: list[Ended] = []
    with tracing(kept).span("fetch", above) as span:
        assert span.context is None
    assert kept == []


def test_the_caller_decides_where_it_has_a_trace_and_chance_where_not() -> None:
    kept: list[Ended] = []
    on, off = tracing(kept, ratio=1.0), tracing(kept, ratio=0.5, chance=0.5)
    assert off.first("POST", None, kind=Kind.SERVER) is NOTHING
    assert on.first("POST", UNRECORDED, kind=Kind.SERVER) is NOTHING
    above = new_trace()
    with off.first("POST", above, kind=Kind.SERVER), on.first("POST", None, kind=Kind.SERVER):
        pass
    root, below = kept
    assert (root.parent, below.parent, below.remote) == (None, above, True)


def test_a_ratio_of_nothing_begins_no_trace() -> None:
    assert tracing([], ratio=0.0, chance=0.0).first("POST", None, kind=Kind.SERVER) is NOTHING


def test_off_gives_the_same_nothing_to_all() -> None:
    assert not OFF.on
    assert OFF.span("fetch", new_trace()) is OFF.first("POST", None, kind=Kind.SERVER) is NOTHING
    with NOTHING as span:
        span.note("a", 1)
        span.fail("broken")
        span.rename("b")
        span.end()
    assert NOTHING.context is None


LAZY = """
import sys
import gateway.wiring, gpu_worker.wiring, scaler.wiring
unwanted = ("opentelemetry.sdk.trace", "opentelemetry.exporter", "requests", "shared.telemetry.otlp")
loaded = [name for name in sys.modules if name.startswith(unwanted)]
assert not loaded, loaded
"""


def test_a_process_that_does_not_trace_never_loads_what_traces() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", LAZY], capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
