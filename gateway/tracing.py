"""A request's own span, and the trace that its job joins."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Scope
from structlog.contextvars import bind_contextvars

from shared.telemetry.tracecontext import Context, parse_traceparent
from shared.telemetry.tracing import NOTHING, Kind, Span, Tracing

TRACED = "/v1/jobs"
"""What is posted below this makes or changes a job. Reading is not traced: it would bury what is."""
REFUSED = {401, 405}
"""Answered before it is known who asks."""


def begun(tracing: Tracing, scope: Scope) -> Span:
    """The span of a request that has come, below the caller's where that sent a `traceparent`.

    Leaves in the scope's state what `traceparent_of` finds there, and the trace's id with the log lines.
    """
    if scope["type"] != "http" or scope["method"] != "POST" or not scope["path"].startswith(TRACED):
        return NOTHING
    caller = _caller(scope)
    span = tracing.first("POST", caller, kind=Kind.SERVER)
    if (context := span.context or caller) is not None:
        scope["state"]["traceparent"] = str(context)
        bind_contextvars(trace_id=context.trace_id)
    return span


def traceparent_of(request: Request) -> str | None:
    """What goes with the job that this request submits."""
    found: str | None = getattr(request.state, "traceparent", None)
    return found


def ended(span: Span, scope: Scope, status: int | None) -> None:
    """The answer is sent. One to a stranger is not told: strangers must not fill the queue of spans."""
    template = getattr(scope.get("route"), "path", "")
    if span.context is None or status in REFUSED or not template:
        return
    span.rename(f"POST {template}")
    span.note("http.request.method", "POST")
    span.note("http.route", template)
    span.note("leveret.request.id", scope["state"]["request_id"])
    if status is not None:
        span.note("http.response.status_code", status)
    if status is None or status >= 500:  # noqa: PLR2004  HTTP's own
        span.fail(str(status or "abandoned"))
    span.end()


def _caller(scope: Scope) -> Context | None:
    """W3C: more than one header is as good as none."""
    given = Headers(scope=scope).getlist("traceparent")
    return parse_traceparent(given[0]) if len(given) == 1 else None
