"""The gateway's part of a trace: who begins one, what hangs below what, and what a stranger can not do."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest
from structlog.testing import capture_logs

from shared.errors import Unavailable
from shared.telemetry.tracecontext import Context, new_trace, parse_traceparent
from shared.telemetry.tracing import OFF, Ended, Kind, SampledTracing, Tracing
from tests.gateway_process import write_catalog
from tests.unit.gateway.test_submit import Desk

pytestmark = pytest.mark.anyio


@dataclass
class Traced:
    """A gateway over fakes that keeps its spans."""

    folder: Path
    tracing: Tracing | None = None
    kept: list[Ended] = field(default_factory=list)

    def __post_init__(self) -> None:
        tracing = self.tracing or SampledTracing(self.kept.append, ratio=1.0)
        self.desk = Desk(write_catalog(self.folder), tracing)

    async def submit(self, *traces: str, key: str | None = None) -> httpx2.Response:
        headers = [("traceparent", trace) for trace in traces]
        if key is not None:
            headers.append(("X-API-Key", key))
        return await self.desk.submit(headers=headers)

    def one(self, name: str) -> Ended:
        (found,) = (span for span in self.kept if span.name == name)
        return found


@pytest.fixture
def traced(tmp_path: Path) -> Traced:
    return Traced(tmp_path)


async def test_a_submit_joins_its_callers_trace_and_the_row_goes_on_from_it(traced: Traced) -> None:
    caller = new_trace()
    answer = await traced.submit(str(caller))
    request, create = traced.one("POST /v1/jobs"), traced.one("create leveret.quick")
    assert (request.parent, request.kind, request.remote) == (caller, Kind.SERVER, True)
    assert (create.parent, create.kind) == (request.context, Kind.PRODUCER)
    assert traced.one("inputs").parent == request.context
    assert traced.one("insert").parent == create.context
    assert answer.headers["traceparent"] == str(request.context)
    # And what is kept with the row, and sent with its message, is the span that created both
    (job,) = traced.desk.store.accepted
    assert job.traceparent == str(create.context)
    assert [sent[3] for sent in traced.desk.publisher.sent] == [job.traceparent]


async def test_without_a_caller_a_trace_begins(traced: Traced) -> None:
    answer = await traced.submit()
    request = traced.one("POST /v1/jobs")
    assert request.parent is None
    assert parse_traceparent(answer.headers["traceparent"]) == request.context


@pytest.mark.parametrize("given", [("nonsense",), (str(new_trace()), str(new_trace()))])
async def test_what_is_no_trace_begins_one(traced: Traced, given: tuple[str, ...]) -> None:
    await traced.submit(*given)
    assert traced.one("POST /v1/jobs").parent is None


async def test_a_caller_who_does_not_record_is_heeded(traced: Traced) -> None:
    caller = Context("1" * 32, "2" * 16, 0)
    answer = await traced.submit(str(caller))
    assert traced.kept == []
    assert "traceparent" not in answer.headers
    assert traced.desk.store.accepted[0].traceparent == str(caller)


async def test_a_stranger_leaves_no_span(traced: Traced) -> None:
    answer = await traced.submit(str(new_trace()), key="lev_wrong")
    assert answer.status_code == 401
    for path in ("/v1/jobs/there/is/none", "/v1/jobsters", "/v1/jobs/1/logs"):
        anybody = await traced.desk.client.post(
            path, headers={"traceparent": str(new_trace()), "X-API-Key": ""}
        )
        assert anybody.status_code in {404, 405}
    assert traced.kept == []


async def test_an_outage_is_told_by_its_code(traced: Traced) -> None:
    traced.desk.store.failure = Unavailable("PostgreSQL at 10.0.0.7: password hunter2")
    answer = await traced.submit()
    assert answer.status_code == 503
    errors = {span.name: span.error for span in traced.kept}
    unavailable = {"insert": "unavailable", "create leveret.quick": "unavailable"}
    assert errors == {"inputs": "", **unavailable, "POST /v1/jobs": "503"}
    assert "hunter2" not in repr(traced.kept)


async def test_off_the_callers_trace_goes_with_the_job(tmp_path: Path) -> None:
    off, caller = Traced(tmp_path, OFF), new_trace()
    with capture_logs() as logs:
        answer = await off.submit(str(caller))
    assert "traceparent" not in answer.headers
    assert off.desk.store.accepted[0].traceparent == str(caller)
    assert [line["event"] for line in logs] == ["job.accepted"]


async def test_reading_leaves_no_span(traced: Traced) -> None:
    await traced.desk.client.get("/v1/models", headers={"traceparent": str(new_trace())})
    assert traced.kept == []
