"""moto's EC2 over real HTTP in a thread, without its own server and all that this would install.

For the wiring only: moto never lacks capacity, boots at once, and takes a client token for new each time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from moto.core.request import Request
from moto.ec2.models import ec2_backends
from moto.ec2.responses import EC2Response

from tests.fakes.serving import serving

REGION = "eu-central-1"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        url = f"https://ec2.{REGION}.amazonaws.com{self.path}"
        request = Request.from_primitives("POST", url, self.headers, body)
        status, headers, answer = EC2Response.dispatch(request, url, request.headers)
        encoded = answer.encode() if isinstance(answer, str) else answer
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in {"content-length", "date", "server"}:
                self.send_header(name, str(value))
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
        """Nowhere."""


@contextmanager
def moto_ec2() -> Iterator[str]:
    """The address of an empty EC2."""
    ec2_backends.reset()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server, serving(server):
        yield f"http://127.0.0.1:{server.server_port}"
