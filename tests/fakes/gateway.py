"""A small real HTTP and WebSocket server that speaks the API and misbehaves when told to."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import threading
from collections import deque
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route, WebSocketRoute

from tests.fakes.operator_desk import OperatorDesk
from tests.fakes.problems import problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import Request
    from starlette.websockets import WebSocket

KEY = "lev_test"
MODELS = {
    "cutout": {
        "name": "cutout",
        "version": "1",
        "description": "Cuts out",
        "queue": "images",
        "inputs": {
            "image": {"kind": "image", "required": True},
            "note": {"kind": "text"},
            "config": {"kind": "json"},
        },
        "outputs": {"cutout": {"kind": "image", "content_type": "image/png"}},
        "params": {"type": "object", "properties": {"size": {"type": "integer", "default": 320}}},
    }
}
ATTEMPT = {
    "attempt": 1,
    "outcome": "failed",
    "log": "hello from the algorithm",
    "error": {"code": "algorithm_error", "traceback": "ValueError: boom\n"},
}
ENDINGS = {"job.succeeded", "job.failed", "job.canceled", "job.expired"}


def _set(event: threading.Event) -> threading.Event:
    event.set()
    return event


@dataclass
class Submitted:
    """A request to create a job, as it arrived."""

    key: str | None
    model: str
    options: dict[str, Any]
    files: dict[str, tuple[str, str, bytes]]


@dataclass
class FakeGateway:
    """The state behind the routes, and the faults to commit.

    Attributes:
        faults: Taken one per HTTP request: a response to send instead, or "lose": do it, answer nothing.
        streaming: Set once a socket got its events.
        hold: Cleared, it keeps a socket open after its last event.
        sockets: Taken one per socket: how many events to send before the close code beside it.
        attempts: What is told of a job's attempts.
        submitting: Called with the id of each new job before its submit is answered.
    """

    url: str = ""
    content: bytes = b"\x89PNG not really"
    script: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    faults: deque[Response | str] = field(default_factory=deque)
    sockets: deque[tuple[int, int]] = field(default_factory=deque)
    refuse_sockets: deque[Response] = field(default_factory=deque)
    served: deque[bytes] = field(default_factory=deque)
    resend_from: int | None = None
    hold: threading.Event = field(default_factory=lambda: _set(threading.Event()))
    submitted: list[Submitted] = field(default_factory=list)
    attempts: list[dict[str, Any]] = field(default_factory=lambda: [ATTEMPT])
    submitting: Callable[[str], object] = field(default=lambda _: None)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    by_key: dict[str, str] = field(default_factory=dict)
    cursors: list[int] = field(default_factory=list)
    seen: list[tuple[str, str, str | None]] = field(default_factory=list)
    store_url: str = ""
    desk: OperatorDesk = field(default_factory=OperatorDesk)
    streaming: threading.Event = field(default_factory=threading.Event)

    def succeed(self, content_type: str = "image/png") -> None:
        """Script a job that runs, reports progress and succeeds."""
        output = {
            "uri": "s3://leveret/x/cutout.png",
            "url": f"{self.url}/signed",
            "content_type": content_type,
            "size": len(self.content),
            "sha256": hashlib.sha256(self.content).hexdigest(),
            "metadata": {"width": 4},
        }
        self.script = [
            ("job.queued", {}),
            ("job.running", {"attempt": 1}),
            ("job.progress", {"progress": 0.5}),
            ("job.succeeded", {"outputs": {"cutout": output}, "timings": {"infer_s": 0.25}}),
        ]

    def end(self, kind: str, error: dict[str, Any] | None = None) -> None:
        """Script a job that ends otherwise."""
        self.script = [("job.queued", {}), ("job.running", {}), (kind, {"error": error})]

    def events(self, job_id: str) -> list[dict[str, Any]]:
        """The script as envelopes; progress repeats the current seq."""
        seq = 0
        made: list[dict[str, Any]] = []
        for kind, data in self.script:
            seq += kind != "job.progress"
            at = f"2026-11-22T10:00:0{len(made)}.000Z"
            made.append({"seq": seq, "job_id": job_id, "type": kind, "at": at, "data": data})
        return made

    def job(self, job_id: str) -> dict[str, Any]:
        """The job's JSON; its outcome is the script's as soon as a socket was served to the end."""
        return self.jobs[job_id]

    def app(self) -> Starlette:
        """The routes."""
        return Starlette(
            routes=[
                Route("/v1/jobs", self._guard(self._submit), methods=["POST"]),
                Route("/v1/jobs/{id}", self._guard(self._read)),
                Route("/v1/jobs/{id}/logs", self._guard(self._logs)),
                Route("/v1/jobs/{id}/events", self._guard(self._history)),
                Route("/v1/jobs/{id}/cancel", self._guard(self._cancel), methods=["POST"]),
                Route("/v1/jobs/{id}/outputs/{name}", self._guard(self._output)),
                Route("/v1/models", self._guard(self._models)),
                Route("/v1/models/{name}", self._guard(self._model)),
                *(
                    Route(path, self._guard(handler), methods=[method])
                    for method, path, handler in self.desk.routes()
                ),
                Route("/livez", self._livez),
                Route("/readyz", self._livez),
                Route("/signed", self._signed),
                WebSocketRoute("/v1/jobs/{id}/stream", self._stream),
            ]
        )

    def _guard(self, handler: Callable[[Request], Any]) -> Callable[[Request], Any]:
        async def guarded(request: Request) -> Response:
            self.seen.append((request.method, request.url.path, request.headers.get("authorization")))
            if request.headers.get("authorization") != f"Bearer {KEY}":
                return problem(401, "unauthorized", "the API key is not known")
            fault = self.faults.popleft() if self.faults else None
            if isinstance(fault, Response):
                return fault
            answer: Response = await handler(request)
            return answer if fault is None else LostResponse()

        return guarded

    async def _submit(self, request: Request) -> Response:
        given = await read_submit(request)
        self.submitted.append(given)
        if given.model not in MODELS:
            errors = [{"path": "model", "message": "no such model; did you mean `cutout`?"}]
            return problem(422, "invalid_job", "model: no such model", errors=errors)
        job_id = self.by_key.setdefault(given.key or str(uuid4()), str(uuid4()))
        self.submitting(job_id)
        self.jobs.setdefault(job_id, {"id": job_id, "model": given.model, "state": "queued", "done": False})
        return JSONResponse(self.jobs[job_id], 202)

    async def _read(self, request: Request) -> Response:
        job = self.jobs.get(request.path_params["id"])
        return JSONResponse(job) if job else problem(404, "not_found", "there is no such job")

    async def _logs(self, _: Request) -> Response:
        return JSONResponse({"attempts": self.attempts})

    async def _history(self, request: Request) -> Response:
        return JSONResponse({"events": self.events(request.path_params["id"])})

    async def _cancel(self, request: Request) -> Response:
        job = self.jobs[request.path_params["id"]]
        if job["done"]:
            return problem(409, "job_ended", "the job has ended")
        job["cancel_requested"] = True
        return JSONResponse(job)

    async def _output(self, _: Request) -> Response:
        return RedirectResponse(f"{self.store_url or self.url}/signed?X-Amz-Signature=abc", 307)

    async def _signed(self, request: Request) -> Response:
        self.seen.append((request.method, request.url.path, request.headers.get("authorization")))
        return Response(self.served.popleft() if self.served else self.content, media_type="image/png")

    async def _models(self, _: Request) -> Response:
        return JSONResponse({"models": list(MODELS.values())})

    async def _model(self, request: Request) -> Response:
        found = MODELS.get(request.path_params["name"])
        return JSONResponse(found) if found else problem(404, "not_found", "there is no such model")

    async def _livez(self, _: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _stream(self, websocket: WebSocket) -> None:
        if websocket.headers.get("authorization") != f"Bearer {KEY}":
            await websocket.send_denial_response(problem(401, "unauthorized", "the API key is not known"))
            return
        if self.refuse_sockets:
            await websocket.send_denial_response(self.refuse_sockets.popleft())
            return
        if websocket.path_params["id"] not in self.jobs:
            await websocket.accept()
            await websocket.close(1008, "not_found: there is no such job")
            return
        await self._push(websocket)

    async def _push(self, websocket: WebSocket) -> None:
        job_id, after = websocket.path_params["id"], int(websocket.query_params.get("after", 0))
        self.cursors.append(after)
        await websocket.accept()
        count, code = self.sockets.popleft() if self.sockets else (1000, 1000)
        start = after if self.resend_from is None else min(after, self.resend_from)
        for event in [each for each in self.events(job_id) if each["seq"] > start][:count]:
            await websocket.send_text(json.dumps(event))
            if event["type"] in ENDINGS:
                ending = event["type"].removeprefix("job.")
                self.jobs[job_id] |= {"state": ending, "done": True, **event["data"]}
        self.streaming.set()
        await asyncio.to_thread(self.hold.wait, 30)
        await websocket.close(code)


class LostResponse(Response):
    """The work was done, and the connection breaks in the middle of the answer."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        length = [(b"content-length", b"100")]
        await send({"type": "http.response.start", "status": 202, "headers": length})
        raise ConnectionResetError("told to")


async def read_submit(request: Request) -> Submitted:
    """The request in either of its forms."""
    key = request.headers.get("idempotency-key")
    if request.headers["content-type"].startswith("application/json"):
        body = await request.json()
        return Submitted(key, body.pop("model"), body, {})
    async with request.form() as form:
        files = {
            name: (part.filename or "", part.content_type or "", await part.read())
            for name, part in form.items()
            if isinstance(part, UploadFile)
        }
        return Submitted(key, str(form["model"]), json.loads(str(form["options"])), files)


@contextmanager
def serving(fake: FakeGateway) -> Iterator[FakeGateway]:
    """The fake on a free port of this machine, on a thread of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fake.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        config = uvicorn.Config(fake.app(), log_config=None, lifespan="off", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        # The socket listens already: whoever comes before the server does waits in its backlog.
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield fake
        finally:
            server.should_exit = True
            fake.hold.set()
            thread.join()
