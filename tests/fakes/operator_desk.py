"""What the fake gateway tells operators: queues, workers and fleets that a test sets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.fakes.problems import problem

Handler = Callable[[Request], Awaitable[Response]]

COUNTS = {"waiting": 0, "running": 0, "oldest_s": None}
NOTHING_SET = {"min": None, "max": None, "paused": False, "changed_by": None, "changed_at": None}
QUEUE: dict[str, Any] = {
    "queue": "images",
    "offered": True,
    "waiting": 12,
    "running": 2,
    "oldest_s": 151.0,
    "scheduled": 1,
    "classes": {
        "high": {"waiting": 2, "running": 1, "oldest_s": 3.0},
        "normal": {"waiting": 10, "running": 1, "oldest_s": 151.0},
        "low": COUNTS,
    },
    "priorities": [{"priority": 9, "waiting": 2, "running": 1, "oldest_s": 3.0}],
    "ended_per_min": 4.25,
    "mean_s": 28.7,
    "eta_s": None,
    "workers": {"starting": 1, "ready": 2, "busy": 1, "draining": 0, "slots": 2},
    "scaler": NOTHING_SET,
}
WORKER: dict[str, Any] = {
    "id": "images-1",
    "queue": "images",
    "state": "ready",
    "draining": False,
    "silent": False,
    "slots": 2,
    "busy": 1,
    "jobs": [
        {
            "id": "0198",
            "model": "cutout",
            "model_version": "1",
            "attempt": 1,
            "fence": 1,
            "running_s": 12.4,
            "lease_s": 17.6,
        }
    ],
    "host": "here",
    "device": "cuda",
    "devices": [
        {
            "device": "cuda0",
            "kind": "cuda",
            "name": "NVIDIA L4",
            "utilisation": 0.824,
            "memory_used": 19542048768,
            "memory_total": 24152899584,
        }
    ],
    "models": [{"name": "cutout", "version": "1", "engines": 1, "load_s": 2.14, "memory": None}],
    "started_at": "2026-11-22T08:10:00.000Z",
    "since": "2026-11-22T08:12:31.000Z",
    "heartbeat_s": 3.2,
}
API_KEY: dict[str, Any] = {
    "id": "0198-k",
    "tenant": "acme",
    "name": "laptop",
    "role": "operator",
    "prefix": "lev_AbCd",
    "created_at": "2026-11-22T08:10:00.000Z",
    "created_by": None,
    "last_used_at": None,
    "expires_at": None,
    "revoked_at": None,
    "mine": True,
}
DECISION: dict[str, Any] = {
    "id": 7,
    "at": "2026-11-22T09:29:30.000Z",
    "want": 3,
    "have": 2,
    "reason": "12 waiting, 2 running; here: 2 busy; 3 of at most 8 wanted; starting 1",
    "actions": {"launch": 1, "drain": [], "terminate": []},
    "inputs": {
        "demand": {
            "tiers": {
                "high": {"waiting": 2, "oldest_s": 3.0, "newest_s": 1.0},
                "normal": {"waiting": 10, "oldest_s": 151.0, "newest_s": 1.0},
                "low": {"waiting": 0, "oldest_s": 0.0, "newest_s": 0.0},
            },
            "running": 2,
        },
        "workers": [
            {"id": "a", "state": "ready", "busy": 1, "drain": False},
            {"id": "b", "state": "ready", "busy": 0, "drain": True},
        ],
        "machines": "unknown",
        "broker": {"ready": 12, "consumers": 2, "deserted": False},
        "failures": {"count": 3, "last_at": 1.0},
        "pace": {"service_s": 28.7, "boot_s": 181.0},
        "spending": {"now": "0.78", "unpriced": 0, "then": "1.17", "unpriced_then": 1},
        "look": {"asked": 5, "bound": "max", "min": 0, "max": 3},
    },
}
COST: dict[str, Any] = {
    "by": "tenant",
    "since": "2026-11-15T09:00:00.000Z",
    "until": "2026-11-22T09:30:00.000Z",
    "currency": "EUR",
    "rows": [
        {
            "key": "acme",
            "jobs": 1200,
            "attempts": 1260,
            "machine_s": 34440.0,
            "gpu_s": 34440.0,
            "used": "3.731",
            "wasted_attempts": 60,
            "wasted_s": 1200.0,
            "wasted": "0.0130001",
            "idle": "1.24366667",
            "paid": "4.97466667",
            "paid_s": None,
            "per_1000_jobs": "4.14555556",
            "unpriced_s": 0.0,
        }
    ],
    "partial": False,
}
COST["total"] = {**COST["rows"][0], "key": None, "paid_s": 45920.0}


def _fleet() -> dict[str, Any]:
    return {"queue": "images", **NOTHING_SET, "latest": {k: v for k, v in DECISION.items() if k != "inputs"}}


@dataclass
class OperatorDesk:
    """Answers for keys of operators.

    Attributes:
        role: Of the key that the fake knows.
        asked: Queries of the pages of decisions.
        set: Bodies of what was to be set.
    """

    role: str = "user"
    queues: list[dict[str, Any]] = field(default_factory=lambda: [dict(QUEUE)])
    keys: list[dict[str, Any]] = field(default_factory=lambda: [dict(API_KEY)])
    workers: list[dict[str, Any]] = field(default_factory=lambda: [dict(WORKER)])
    fleet: dict[str, Any] = field(default_factory=_fleet)
    decisions: list[dict[str, Any]] = field(default_factory=lambda: [dict(DECISION)])
    asked: list[dict[str, str]] = field(default_factory=list)
    said: list[dict[str, Any]] = field(default_factory=list)
    cost: dict[str, Any] = field(default_factory=lambda: dict(COST))

    def routes(self) -> Iterator[tuple[str, str, Handler]]:
        """Method, path and handler of each."""
        routes: tuple[tuple[str, str, Handler], ...] = (
            ("GET", "/v1/queues", self._queues),
            ("POST", "/v1/queues/{queue}/pause", self._hold),
            ("POST", "/v1/queues/{queue}/resume", self._hold),
            ("GET", "/v1/admin/keys", self._keys),
            ("POST", "/v1/admin/keys", self._create_key),
            ("DELETE", "/v1/admin/keys/{id}", self._revoke_key),
            ("GET", "/v1/workers", self._workers),
            ("POST", "/v1/workers/{id}/drain", self._drain),
            ("GET", "/v1/scaler", self._fleets),
            ("PUT", "/v1/scaler/{queue}", self._set),
            ("GET", "/v1/scaler/{queue}/decisions", self._decisions),
            ("POST", "/v1/scaler/{queue}/pause", self._pause),
            ("POST", "/v1/scaler/{queue}/resume", self._pause),
        )
        for method, path, handler in routes:
            yield method, path, self._for_operators(handler)
        yield "GET", "/v1/cost", self._cost

    def _for_operators(self, handler: Handler) -> Handler:
        async def guarded(request: Request) -> Response:
            if self.role != "operator":
                return problem(403, "forbidden", "this is for keys of the role `operator`")
            if request.path_params.get("queue", "images") != "images":
                return problem(404, "not_found", "there is no such queue")
            return await handler(request)

        return guarded

    async def _queues(self, _: Request) -> Response:
        return JSONResponse({"queues": self.queues})

    async def _hold(self, request: Request) -> Response:
        self.queues[0]["paused"] = request.url.path.endswith("/pause")
        return JSONResponse(self.queues[0])

    async def _keys(self, _: Request) -> Response:
        return JSONResponse({"keys": self.keys})

    async def _create_key(self, request: Request) -> Response:
        said = await request.json()
        self.said.append(said)
        return JSONResponse({"key": {**API_KEY, "name": said["name"]}, "secret": f"lev_{'n' * 43}"}, 201)

    async def _revoke_key(self, request: Request) -> Response:
        for key in self.keys:
            if key["id"] == request.path_params["id"]:
                key["revoked_at"] = "2026-11-22T10:00:00.000Z"
                return JSONResponse(key)
        return problem(404, "not_found", "there is no such key")

    async def _workers(self, request: Request) -> Response:
        wanted = request.query_params.get("queue")
        return JSONResponse({"workers": [each for each in self.workers if wanted in {None, each["queue"]}]})

    async def _drain(self, request: Request) -> Response:
        for worker in self.workers:
            if worker["id"] == request.path_params["id"]:
                worker["draining"] = True
                return JSONResponse(worker)
        return problem(404, "not_found", "there is no such worker, or it has left")

    async def _fleets(self, _: Request) -> Response:
        return JSONResponse({"fleets": [self.fleet]})

    async def _set(self, request: Request) -> Response:
        said = await request.json()
        self.said.append(said)
        self.fleet |= said
        if (self.fleet["min"] or 0) > (self.fleet["max"] or 99):
            return problem(409, "limits_crossed", "the minimum would be above the maximum")
        return JSONResponse(self.fleet)

    async def _decisions(self, request: Request) -> Response:
        self.asked.append(dict(request.query_params))
        return JSONResponse({"decisions": self.decisions, "next_cursor": None})

    async def _pause(self, request: Request) -> Response:
        self.fleet["paused"] = request.url.path.endswith("/pause")
        return JSONResponse(self.fleet)

    async def _cost(self, request: Request) -> Response:
        self.asked.append(dict(request.query_params))
        return JSONResponse(self.cost)
