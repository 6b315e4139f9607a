"""The calls that one job makes of tracing, alone: what stays in the code when it is off.

They are those of gateway and worker, one after the other, with everything in between left out. No server
and no process enters.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Any

from structlog.contextvars import bind_contextvars
from uuid_utils.compat import uuid7

from gateway.tracing import begun, ended
from gpu_worker.engine.calls import EngineResult
from gpu_worker.trail import Trails
from shared.jobs import Claim
from shared.settings import TracingSection
from shared.telemetry.conventions import INSERT, PUBLISH_EVENT, UPDATE
from shared.telemetry.export import BATCH
from shared.telemetry.otlp import Sender
from shared.telemetry.tracing import OFF, Ended, Kind, SampledTracing, Tracing

NOW = datetime.now(UTC)
RESULT = EngineResult({}, {"prepare_s": 0.001, "infer_s": 0.001, "finish_s": 0.001}, "", 1, began={})


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one job's calls.

    Attributes:
        seconds: Of the thread that serves, median of many batches.
        spans: That they left.
    """

    seconds: float
    spans: int


def off(batches: int) -> Cost:
    """Nothing is traced."""
    return _cost(OFF, batches, [])


def on(batches: int) -> Cost:
    """Everything is recorded, and kept in a list: sending it is another thread's affair."""
    kept: list[Ended] = []
    return _cost(SampledTracing(kept.append, ratio=1.0), batches, kept)


def sent(url: str, batches: int) -> Cost:
    """What a job's spans cost the thread that sends them, to a receiver that takes everything."""
    kept: list[Ended] = []
    _one_job(SampledTracing(kept.append, ratio=1.0))()
    spans = len(kept)
    sender = Sender(TracingSection.model_validate({"endpoint": url}), "bench", "")
    batch = (kept * (BATCH // spans + 1))[:BATCH]
    took = _timed(lambda: sender.send(batch), max(1, batches // 10), size=1)
    sender.stop()
    return Cost(took / BATCH * spans, spans)


def empty(batches: int) -> Cost:
    """The same blocks around nothing, to be taken off."""
    return Cost(_timed(lambda: None, batches), 0)


def _cost(tracing: Tracing, batches: int, kept: list[Ended]) -> Cost:
    job = _one_job(tracing)
    job()
    spans = len(kept)
    return Cost(_timed(job, batches, kept), spans)


def _one_job(tracing: Tracing) -> Callable[[], None]:
    scope = _scope()
    claim = _claim()
    trails = Trails(tracing, "leveret.bench")

    def job() -> None:
        scope["state"] = {"request_id": "r"}
        request = begun(tracing, scope)
        _submitted(tracing, request.context)
        _worked(trails, claim, str(request.context) if request.context else None)
        ended(request, scope, 202)

    return job


def _submitted(tracing: Tracing, above: Any) -> None:
    with tracing.span("inputs", above):
        pass
    with (
        tracing.span("create leveret.bench", above, kind=Kind.PRODUCER) as created,
        tracing.span("insert", created.context, kind=Kind.CLIENT, attributes=INSERT),
    ):
        pass
    with tracing.span("publish leveret.bench", created.context, kind=Kind.CLIENT):
        pass


def _worked(trails: Trails, claim: Claim, traceparent: str | None) -> None:
    bind_contextvars(job_id="j")
    trail = trails.begin(traceparent)
    trail.claimed(claim)
    for stage in ("announce", "fetch", "run", "store", "commit", "announce"):
        kind, said = (Kind.CLIENT, PUBLISH_EVENT) if stage == "announce" else (Kind.INTERNAL, UPDATE)
        with trail.stage(stage, kind, said) as span:
            if stage == "run":
                trail.ran(span, RESULT)
    trail.left("succeeded", "")


def _timed(
    job: Callable[[], object], batches: int, kept: list[Ended] | None = None, size: int = 200
) -> float:
    took = []
    for _ in range(batches):
        began = time.thread_time()
        for _ in range(size):
            job()
        took.append((time.thread_time() - began) / size)
        if kept:
            kept.clear()
    return median(took)


def _scope() -> dict[str, Any]:
    headers = [(b"host", b"gateway"), (b"content-type", b"application/json"), (b"authorization", b"Bearer x")]
    return {"type": "http", "method": "POST", "path": "/v1/jobs", "headers": headers, "state": {}}


def _claim() -> Claim:
    return Claim(
        id=uuid7(),
        tenant="bench",
        model="noop",
        model_version="1",
        queue="bench",
        priority=5,
        attempt=1,
        max_attempts=3,
        fence=1,
        seq=2,
        timeout_s=60,
        inputs={},
        params={},
        metadata={},
        destinations={},
        retry_of=None,
        traceparent=None,
        created_at=NOW,
        queued_at=NOW,
        started_at=NOW,
    )
