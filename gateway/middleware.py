"""What every request passes: an id, a limit on its body, a measure of its time, and the last net for errors.

Pure ASGI: Starlette's base class for middleware loses context variables and buffers streams.
"""

from __future__ import annotations

import asyncio
import re
import time
from functools import cache
from typing import Any

import structlog
from prometheus_client import Counter, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uuid_utils.compat import uuid7

from gateway.problems import Problems
from gateway.refusals import TooLarge
from gateway.tracing import begun, ended
from shared.telemetry.tracing import OFF, Tracing

log = structlog.get_logger()

DURATION = Histogram(
    "leveret_gateway_http_duration_seconds",
    "Time until the last byte of an answer, by route template",
    ["method", "route", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
ERRORS = Counter("leveret_gateway_unexpected_errors_total", "Requests that met a defect of ours")

LINGER_S = 5.0
LINGER_BYTES = 256 * 1024 * 1024
"""How long and how far an unread body is read after the answer, so that the client gets to see the answer."""

_GIVEN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Edge:
    """The outermost layer."""

    def __init__(self, app: ASGIApp, problems: Problems, tracing: Tracing = OFF) -> None:
        self._app = app
        self._problems = problems
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request or socket."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})["request_id"] = name = _request_id(scope)
        with structlog.contextvars.bound_contextvars(request_id=name):
            span = begun(self._tracing, scope)
            answer = _Answer(send, name, str(span.context) if span.context else None)
            started = time.perf_counter()
            try:
                await self._app(scope, receive, answer.send)
            except ClientDisconnect:
                log.debug("request.abandoned")
            except Exception as error:  # noqa: BLE001  the ASGI error handler, one of three places that may
                await self._failed(scope, receive, answer, error)
            if scope["type"] == "http":
                _measure(scope, answer.status, time.perf_counter() - started)
                ended(span, scope, answer.status)

    async def _failed(self, scope: Scope, receive: Receive, answer: _Answer, error: Exception) -> None:
        ERRORS.inc()
        log.error("request.failed", path=scope["path"], exc_info=error)
        if scope["type"] != "http" or answer.whole:
            return
        if answer.status is not None:
            # Half an answer must not look like a whole one: the server cuts the connection on this.
            raise ConnectionAbortedError("failed after the answer had begun")
        problem = self._problems.response("internal_error", "", answer.request_id)
        await problem(scope, receive, answer.send)


class _Answer:
    """Adds the headers of id and trace, and remembers the status."""

    def __init__(self, send: Send, request_id: str, traceparent: str | None = None) -> None:
        self.status: int | None = None
        self.whole = False
        self.request_id = request_id
        self._traceparent = traceparent
        self._send = send

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self.request_id
            if self._traceparent is not None:
                headers["traceparent"] = self._traceparent
            headers.setdefault("X-Content-Type-Options", "nosniff")
        await self._send(message)
        self.whole = message["type"] == "http.response.body" and not message.get("more_body", False)


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _GIVEN_ID.fullmatch(given) else str(uuid7())


def _measure(scope: Scope, status: int | None, duration_s: float) -> None:
    route: Any = scope.get("route")
    template = getattr(route, "path", None) or "unmatched"
    _series(_method(scope), template, status or 0).observe(duration_s)


@cache
def _series(method: str, route: str, status: int) -> Histogram:
    """As many as there are routes and statuses: looking a child up costs more than observing."""
    return DURATION.labels(method, route, status)


def _method(scope: Scope) -> str:
    """Never the caller's own words: a label per invented method would fill the memory."""
    known = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
    return scope["method"] if scope["method"] in known else "other"


class BodyLimit:
    """Refuses a body above the limit before or while it is read, and lets the client see the refusal."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; sockets pass."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(scope, receive, send, self._limit)
        await self._app(scope, body.receive, body.send)


class _Body:
    """One request's body on its way in, counted."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
        headers = Headers(scope=scope)
        length = headers.get("content-length", "")
        self._announced = int(length) if length.isdigit() else 0
        self._whole = not self._announced and "transfer-encoding" not in headers
        self._asks_first = headers.get("expect", "").lower() == "100-continue"
        self._receive, self._send, self._limit = receive, send, limit
        self._read = 0

    async def receive(self) -> Message:
        if self._announced > self._limit:
            raise self._too_large()
        message = await self._receive()
        self._count(message)
        if self._read > self._limit:
            raise self._too_large()
        return message

    def _count(self, message: Message) -> None:
        self._read += len(message.get("body", b""))
        if not message.get("more_body", False):
            self._whole = True

    def _too_large(self) -> TooLarge:
        return TooLarge(f"at most {self._limit} bytes are accepted in a request")

    async def send(self, message: Message) -> None:
        """Answer; with a body still on its way, read on for a while before the connection closes.

        Closing at once would reset the connection under a client that is still sending, and it would never
        see why.
        """
        if self._whole:
            await self._send(message)
        elif message["type"] == "http.response.start":
            MutableHeaders(scope=message)["Connection"] = "close"
            await self._send(message)
        elif message.get("more_body", False) or self._asks_first:
            await self._send(message)
        else:
            await self._send({**message, "more_body": True})
            await self._discard_rest()
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _discard_rest(self) -> None:
        try:
            async with asyncio.timeout(LINGER_S):
                while not self._whole and self._read < LINGER_BYTES:
                    self._count(await self._receive())
        except TimeoutError:
            log.debug("request.body_cut")
