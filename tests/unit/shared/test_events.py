"""An event's envelope: one for history, streams and webhooks, and a little more between processes."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from uuid_utils.compat import uuid7

from shared.events import Event, EventType, decode, encode

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def event(traceparent: str | None = None) -> Event:
    at = datetime(2026, 11, 23, tzinfo=UTC)
    return Event(
        seq=2, job_id=uuid7(), type=EventType.RUNNING, at=at, data={"attempt": 1}, traceparent=traceparent
    )


def test_what_one_process_tells_another_comes_back_whole() -> None:
    for told in (event(), event(TRACE)):
        assert decode(encode(told)) == told


def test_its_place_in_a_trace_is_for_processes_and_not_for_clients() -> None:
    assert event(TRACE).document().keys() == {"seq", "job_id", "type", "at", "data"}
    assert "traceparent" not in json.loads(encode(event()))


def test_a_process_that_knows_less_reads_it_all_the_same() -> None:
    newer = json.loads(encode(event(TRACE))) | {"from_the_future": 1}
    assert decode(json.dumps(newer)).traceparent == TRACE
