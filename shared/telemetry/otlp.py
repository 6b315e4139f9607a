"""OpenTelemetry's spans and exporter, which are an extra: imported by `export` alone, where tracing is on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from shared.settings import TracingSection
from shared.telemetry.tracecontext import Context
from shared.telemetry.tracing import Ended

MAX_TEXT = 256
"""Characters of a name or an attribute, whatever a model or a queue is called."""
SCOPE = InstrumentationScope("leveret")


class Sender:
    """Sends our records as OpenTelemetry's spans.

    Args:
        settings: Where to.
        service: `gateway`, `worker`.
        instance: Tells processes of a service apart.
    """

    def __init__(self, settings: TracingSection, service: str, instance: str) -> None:
        # A line for every try would fill the log while the collector is away: it is told once, by us.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._exporter = OTLPSpanExporter(endpoint=settings.url, timeout=settings.timeout_s)
        names = {"service.name": f"leveret-{service}", "service.namespace": "leveret"}
        self._resource = Resource.create(names | ({"service.instance.id": instance} if instance else {}))

    def send(self, spans: Sequence[Ended]) -> bool:
        """Send a batch, with the exporter's own tries within its timeout; whether it was taken."""
        made = [_span(told, self._resource) for told in spans]
        return self._exporter.export(made) is SpanExportResult.SUCCESS

    def stop(self) -> None:
        """Give up a try that waits for the next one."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]


def _span(told: Ended, resource: Resource) -> ReadableSpan:
    """One span.

    The SDK advises against making them by hand. But its tracer wants to be there when a span begins, and to
    choose its id; here both stand in a record, made by another thread or of what another process did.
    """
    return ReadableSpan(
        name=told.name[:MAX_TEXT],
        context=_context(told.context),
        parent=_context(told.parent, remote=told.remote) if told.parent else None,
        resource=resource,
        attributes=_attributes(told),
        links=[Link(_context(link, remote=True)) for link in told.links],
        kind=SpanKind(told.kind),
        status=Status(StatusCode.ERROR if told.error else StatusCode.UNSET),
        start_time=told.start_ns,
        end_time=told.end_ns,
        instrumentation_scope=SCOPE,
    )


def _attributes(told: Ended) -> dict[str, Any]:
    said = {**told.attributes, "error.type": told.error} if told.error else told.attributes
    return {name: value[:MAX_TEXT] if isinstance(value, str) else value for name, value in said.items()}


def _context(context: Context, *, remote: bool = False) -> SpanContext:
    ids = int(context.trace_id, 16), int(context.span_id, 16)
    return SpanContext(*ids, is_remote=remote, trace_flags=TraceFlags(context.flags))
