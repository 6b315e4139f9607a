"""Turns tracing on: a bounded queue between those who end spans and the thread that sends them.

Whoever ends a span puts a record into the queue and goes on; a full queue drops it, and that is counted. The
thread makes OpenTelemetry's spans of the records and sends them by OTLP over HTTP, so a collector that is
dead, slow or silent holds up nothing but that thread. When the process ends what is left gets a few seconds.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog
from prometheus_client import Counter

from shared.errors import Misconfigured
from shared.settings import TracingSection
from shared.telemetry.tracing import OFF, Ended, SampledTracing, Tracing

if TYPE_CHECKING:
    from shared.telemetry.otlp import Sender

log = structlog.get_logger()

SPANS = Counter("leveret_tracing_spans_total", "Spans by what became of them", ["outcome"])
EXPORTED, REFUSED, DROPPED = (SPANS.labels(name) for name in ("exported", "refused", "dropped"))
BATCH = 512
EVERY_S = 1.0
AWAY_S = 0.5
"""What a collector that did not answer before gets at the end."""

Send = Callable[[Sequence[Ended]], bool]


class Outbox:
    """Spans on their way out.

    Args:
        send: Sends a batch; whether that was taken. Called in the thread.
        limit: Spans that wait at most.
    """

    def __init__(self, send: Send, *, limit: int) -> None:
        self._send = send
        self._limit = limit
        self._waiting: deque[Ended] = deque()
        self._sending = 0
        self._wake = threading.Event()
        self._closing = False
        self._reached = True
        run = contextvars.copy_context().run  # its log lines name the service, too
        self._thread = threading.Thread(target=run, args=(self._run,), name="tracing", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def keep(self, span: Ended) -> None:
        """Take a span, or drop it where too many wait. Never blocks."""
        if len(self._waiting) >= self._limit:
            DROPPED.inc()
            return
        self._waiting.append(span)
        if len(self._waiting) >= BATCH:
            self._wake.set()

    def close(self, timeout_s: float) -> int:
        """Send what waits, for so long at most; returns how many spans were left behind."""
        self._closing = True
        self._wake.set()
        self._thread.join(timeout_s if self._reached else min(timeout_s, AWAY_S))
        left = len(self._waiting) + self._sending
        if left:
            DROPPED.inc(left)
        return left

    def _run(self) -> None:
        while not self._closing:
            self._wake.wait(EVERY_S)
            self._wake.clear()
            while self._waiting:
                self._send_some()

    def _send_some(self) -> None:
        batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
        self._sending = len(batch)
        taken = self._send(batch)
        self._sending = 0
        (EXPORTED if taken else REFUSED).inc(len(batch))
        if taken is not self._reached:
            self._reached = taken
            log.warning("tracing.collector_answers" if taken else "tracing.collector_away")


@asynccontextmanager
async def open_tracing(
    settings: TracingSection, *, service: str, instance: str = ""
) -> AsyncIterator[Tracing]:
    """Tracing as the settings want it; what has ended is sent before this closes, within `flush_s`.

    Args:
        settings: Off where they name no endpoint.
        service: `gateway`, `worker`.
        instance: Tells processes of a service apart.

    Raises:
        Misconfigured: The packages for it are not installed.
    """
    if settings.endpoint is None:
        yield OFF
        return
    sender = _sender(settings, service, instance)
    outbox = Outbox(sender.send, limit=settings.queue)
    outbox.start()
    log.info("tracing.on", ratio=settings.ratio)
    try:
        yield SampledTracing(outbox.keep, ratio=settings.ratio)
    finally:
        left = await asyncio.to_thread(outbox.close, settings.flush_s)
        sender.stop()
        if left:
            log.warning("tracing.unsent", spans=left)


def _sender(settings: TracingSection, service: str, instance: str) -> Sender:
    try:
        from shared.telemetry.otlp import Sender  # noqa: PLC0415  an extra, paid for by who wants it
    except ImportError as error:
        raise Misconfigured(f"LEVERET_TRACING_ENDPOINT needs the extra leveret[tracing]: {error}") from error
    return Sender(settings, service, instance)
