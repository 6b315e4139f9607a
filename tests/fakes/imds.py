"""EC2's metadata service, IMDSv2 only, over real HTTP in a thread: what a worker's process can ask.

It gives tokens that run out, refuses requests without one (401), answers 404 for what is not there, and can
be slow, garbled, or switched off (403).
"""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.fakes.serving import serving

INSTANCE_ACTION = "/latest/meta-data/spot/instance-action"
REBALANCE = "/latest/meta-data/events/recommendations/rebalance"


class FakeImds:
    """What the service knows; the tests change it while it serves.

    Attributes:
        url: Where it is.
        items: Bodies by path.
        tokens: Those that are valid.
        asked: The paths of all requests, in order, refused ones as well.
        disabled: The instance's metadata options say so.
        ahead_s: How far its clock is ahead of this machine's.
        answers: While it is clear nothing is answered.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.items: dict[str, bytes] = {}
        self.tokens: set[str] = set()
        self.asked: list[str] = []
        self.disabled = False
        self.ahead_s = 0.0
        self.answers = threading.Event()
        self.answers.set()
        self._numbers = itertools.count(1)

    @property
    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.ahead_s)

    def interrupt(self, seconds: float, action: str = "terminate") -> None:
        """Mark the instance: it goes away so many seconds from now."""
        at = self.now + timedelta(seconds=seconds)
        self.items[INSTANCE_ACTION] = json.dumps(
            {"action": action, "time": at.strftime("%Y-%m-%dT%H:%M:%SZ")}
        ).encode()

    def recommend(self) -> None:
        """Tell that the instance is at risk."""
        self.items[REBALANCE] = json.dumps({"noticeTime": f"{self.now:%Y-%m-%dT%H:%M:%SZ}"}).encode()

    def put(self, path: str, ttl_s: str | None) -> tuple[int, bytes]:
        if self.disabled:
            return 403, b""
        if path != "/latest/api/token":
            return 405, b""
        if ttl_s is None or not 1 <= int(ttl_s) <= 21600:
            return 400, b""
        token = f"token-{next(self._numbers)}=="
        self.tokens.add(token)
        return 200, token.encode()

    def get(self, path: str, token: str | None) -> tuple[int, bytes]:
        if self.disabled:
            return 403, b""
        if token not in self.tokens:
            return 401, b"<title>401 - Unauthorized</title>"
        return (200, self.items[path]) if path in self.items else (404, b"<title>404 - Not Found</title>")


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.fake = FakeImds(f"http://127.0.0.1:{self.server_port}")

    def handle_error(self, request: object, client_address: object) -> None:
        """The peer gave up waiting, as it should."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_PUT(self) -> None:
        ttl_s = self.headers["X-aws-ec2-metadata-token-ttl-seconds"]
        self._answer(lambda: self.server.fake.put(self.path, ttl_s))

    def do_GET(self) -> None:
        token = self.headers["X-aws-ec2-metadata-token"]
        self._answer(lambda: self.server.fake.get(self.path, token))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
        """Into the list of what was asked, and nowhere else."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string(self.server.fake.now.timestamp() if timestamp is None else timestamp)

    def _answer(self, answer: Callable[[], tuple[int, bytes]]) -> None:
        self.server.fake.asked.append(self.path)
        self.server.fake.answers.wait()
        status, body = answer()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def fake_imds() -> Iterator[FakeImds]:
    """A service on a free port of this machine."""
    with _Server() as server, serving(server):
        try:
            yield server.fake
        finally:
            server.fake.answers.set()
