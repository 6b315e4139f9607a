"""Queues, workers and the scaler, for operators."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from gateway.intake import read_body
from gateway.openapi import JOB_ID, LIMITS_BODY, answer, documented
from gateway.operations.views import (
    DecisionsView,
    FleetHistoryView,
    FleetsView,
    FleetView,
    QueuesView,
    QueueView,
    WorkersView,
    WorkerView,
)
from gateway.routes.answers import Json
from gateway.schemas import MAX_INTEGER, FleetLimits
from gateway.services import Operator, UsedServices

router = APIRouter(tags=["operations"])

MAX_PAGE = 100

_ERRORS = ("unauthorized", "forbidden", "unavailable", "internal_error")
_CHANGES = (*_ERRORS, "not_found", "outcome_unknown")
_SET = {"min": None, "max": 8, "paused": False, "changed_by": "default/laptop"}
_SET_AT = {"changed_at": "2026-11-22T09:00:00.000Z"}
_NONE = {"waiting": 0, "running": 0, "oldest_s": None}
_QUEUE = {
    "queue": "images",
    "offered": True,
    "waiting": 12,
    "running": 2,
    "oldest_s": 42.5,
    "scheduled": 1,
    "classes": {
        "high": {"waiting": 2, "running": 1, "oldest_s": 3.1},
        "normal": {"waiting": 10, "running": 1, "oldest_s": 42.5},
        "low": _NONE,
    },
    "priorities": [
        {"priority": 9, "waiting": 2, "running": 1, "oldest_s": 3.1},
        {"priority": 5, "waiting": 10, "running": 1, "oldest_s": 42.5},
    ],
    "ended_per_min": 4.2,
    "in_per_s": 0.05,
    "out_per_s": 0.07,
    "drain_low_s": 171.429,
    "drain_high_s": 600.0,
    "paused": False,
    "paused_by": None,
    "paused_at": None,
    "mean_s": 28.7,
    "eta_s": 186.55,
    "workers": {"starting": 1, "ready": 2, "busy": 2, "draining": 0, "slots": 2},
    "scaler": {**_SET, **_SET_AT},
}
_WORKER = {
    "id": "images-5f0c",
    "queue": "images",
    "state": "ready",
    "draining": False,
    "silent": False,
    "slots": 1,
    "busy": 1,
    "jobs": [
        {
            "id": JOB_ID,
            "model": "cutout",
            "model_version": "1",
            "attempt": 1,
            "fence": 1,
            "running_s": 12.4,
            "lease_s": 17.6,
        }
    ],
    "host": "ip-10-0-1-17",
    "device": "cuda",
    "devices": [
        {
            "device": "cuda0",
            "kind": "cuda",
            "name": "NVIDIA L4",
            "utilisation": 0.82,
            "memory_used": 19542048768,
            "memory_total": 24152899584,
        }
    ],
    "models": [
        {"name": "cutout", "version": "1", "engines": 1, "load_s": 2.14, "memory": 184500000},
    ],
    "started_at": "2026-11-22T08:10:00.000Z",
    "since": "2026-11-22T08:12:31.000Z",
    "heartbeat_s": 3.2,
}
_DECISION: dict[str, Any] = {
    "id": 4711,
    "at": "2026-11-22T09:29:30.000Z",
    "want": 3,
    "have": 2,
    "reason": "12 waiting, 2 running (12 normal); here: 2 busy; 3 of at most 8 wanted; starting 1",
    "actions": {"launch": 1, "drain": [], "terminate": []},
}
_INPUTS = {
    "demand": {"tiers": {"normal": {"waiting": 10, "oldest_s": 42.0, "newest_s": 1.2}}, "running": 2},
    "broker": {"ready": 12, "consumers": 2, "deserted": False},
    "pace": {"service_s": 28.7, "boot_s": 181.0},
}
_LIMITS = {"min": 0, "max": 8, "min_by": "settings", "max_by": "order"}
_LOOK: dict[str, Any] = {
    "at": "2026-11-22T09:30:00.000Z",
    "since": "2026-11-22T09:29:30.000Z",
    "fresh": True,
    "want": 8,
    "asked": 11,
    "bound": "max",
}
_FLEET = {
    "queue": "images",
    **_SET,
    **_SET_AT,
    "there": {"serving": 6, "starting": 2, "draining": 0},
    "limits": _LIMITS,
    "look": _LOOK,
    "latest": _DECISION,
}
_SPAN: dict[str, Any] = {
    "at": "2026-11-22T09:29:30.000Z",
    "until": "2026-11-22T09:30:00.000Z",
    "gap_before": False,
    "want": 8,
    "asked": 11,
    "bound": "max",
    "serving": 6,
    "starting": 2,
    "leaving": 0,
    **_LIMITS,
}

QueueName = Annotated[str, Path(description="The queue's name")]
Cursor = Annotated[
    int | None, Query(ge=1, le=MAX_INTEGER, description="`next_cursor` of the page before: only older ones")
]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="Decisions on a page")]


@router.get(
    "/v1/queues",
    summary="See the queues",
    responses=documented({200: answer("By name", QueuesView, {"queues": [_QUEUE]})}, *_ERRORS),
)
async def list_queues(services: UsedServices, caller: Operator) -> Response:  # noqa: ARG001  the role counts
    """What waits and runs, by class and priority, who works on it, and how fast."""
    return Json({"queues": await services.desk.queues()})


_HELD = _QUEUE | {
    "paused": True,
    "paused_by": "default/laptop",
    "paused_at": "2026-11-22T09:00:00.000Z",
}


@router.post(
    "/v1/queues/{queue}/pause",
    summary="Hold a queue",
    responses=documented({200: answer("It is held", QueueView, _HELD)}, *_CHANGES),
)
async def pause_queue(services: UsedServices, caller: Operator, queue: QueueName) -> Response:
    """Nothing of it is started from now on; what runs goes on, what comes waits, nothing is lost.

    Its jobs say `paused` as their `queue_reason`. Deadlines for a start go on.
    """
    return Json(await services.desk.hold(queue, caller, paused=True))


@router.post(
    "/v1/queues/{queue}/resume",
    summary="Let a queue go on",
    responses=documented({200: answer("It goes on", QueueView, _QUEUE)}, *_CHANGES),
)
async def resume_queue(services: UsedServices, caller: Operator, queue: QueueName) -> Response:
    """What has waited is sent again by priority, within a second or so."""
    return Json(await services.desk.hold(queue, caller, paused=False))


@router.get(
    "/v1/workers",
    summary="See the workers",
    responses=documented({200: answer("By queue", WorkersView, {"workers": [_WORKER]})}, *_ERRORS),
)
async def list_workers(
    services: UsedServices,
    caller: Operator,  # noqa: ARG001  the role counts
    queue: Annotated[str | None, Query(description="Only those of this queue")] = None,
) -> Response:
    """Who was heard of within the hour and has not said goodbye, and which jobs each runs."""
    return Json({"workers": await services.desk.workers(queue)})


@router.post(
    "/v1/workers/{worker_id}/drain",
    summary="Drain a worker",
    responses=documented({200: answer("It was asked", WorkerView, _WORKER | {"draining": True})}, *_CHANGES),
)
async def drain_worker(
    services: UsedServices, caller: Operator, worker_id: Annotated[str, Path(description="The worker's id")]
) -> Response:
    """It reads so with its next heartbeat, takes no further job, finishes what it holds and ends."""
    return Json(await services.desk.drain(worker_id, caller))


@router.post(
    "/v1/workers/{worker_id}/undrain",
    summary="Let a worker stay",
    responses=documented({200: answer("It stays", WorkerView, _WORKER)}, *_CHANGES, "worker_leaving"),
)
async def undrain_worker(
    services: UsedServices, caller: Operator, worker_id: Annotated[str, Path(description="The worker's id")]
) -> Response:
    """Takes back that it shall leave, as long as it has not heard of that: at most ten seconds."""
    return Json(await services.desk.undrain(worker_id, caller))


@router.get(
    "/v1/scaler",
    summary="See the fleets",
    responses=documented({200: answer("By queue", FleetsView, {"fleets": [_FLEET]})}, *_ERRORS),
)
async def list_fleets(services: UsedServices, caller: Operator) -> Response:  # noqa: ARG001  the role counts
    """Who is there, which limits hold and whose they are, what is wanted, and the last decision on each."""
    return Json({"fleets": await services.desk.fleets()})


@router.get(
    "/v1/scaler/{queue}/history",
    summary="See how many there were",
    responses=documented(
        {200: answer("Oldest first", FleetHistoryView, {"queue": "images", "spans": [_SPAN]})},
        *_ERRORS,
        "not_found",
        "invalid_request",
    ),
)
async def read_history(
    services: UsedServices,
    caller: Operator,  # noqa: ARG001  the role counts
    queue: QueueName,
    since_s: Annotated[float, Query(ge=60, le=8 * 86400, description="Of the last so many seconds")] = 3600.0,
) -> Response:
    """How many workers a fleet wanted and had, as the scaler found at every look: spans without a change.

    The newest 2000 at most. Where nobody looked there is a gap.
    """
    return Json(await services.desk.history(queue, since_s=since_s))


@router.get(
    "/v1/scaler/{queue}/decisions",
    summary="See why",
    responses=documented(
        {
            200: answer(
                "Newest first",
                DecisionsView,
                {"decisions": [{**_DECISION, "inputs": _INPUTS}], "next_cursor": 4711},
            )
        },
        *_ERRORS,
        "not_found",
        "invalid_request",
    ),
)
async def list_decisions(
    services: UsedServices,
    caller: Operator,  # noqa: ARG001  the role counts
    queue: QueueName,
    cursor: Cursor = None,
    limit: Limit = 20,
) -> Response:
    """What the scaler decided on a queue's fleet, why, and all that it rests on.

    Written down is what changes something, and the first of each series of looks at which it held, or a
    worker was missing that could not be started then.
    """
    return Json(await services.desk.decisions(queue, before=cursor, limit=limit))


@router.put(
    "/v1/scaler/{queue}",
    summary="Set a fleet's limits",
    responses=documented(
        {200: answer("All that is set now", FleetView, _FLEET)},
        *_CHANGES,
        "malformed_body",
        "limits_crossed",
        "body_too_large",
        "invalid_request",
    ),
    openapi_extra={"requestBody": LIMITS_BODY},
)
async def set_fleet(request: Request, services: UsedServices, caller: Operator, queue: QueueName) -> Response:
    """Over the scaler's settings, from its next look on. What is left out stays; null gives back to them."""
    limits = await read_body(request, FleetLimits)
    said = {name: getattr(limits, name) for name in limits.model_fields_set}
    paused = said.pop("paused", None)
    return Json(await services.desk.override(queue, caller, limits=said, paused=paused))


@router.post(
    "/v1/scaler/{queue}/pause",
    summary="Pause a fleet",
    responses=documented(
        {200: answer("All that is set now", FleetView, _FLEET | {"paused": True})}, *_CHANGES
    ),
)
async def pause_fleet(services: UsedServices, caller: Operator, queue: QueueName) -> Response:
    """The scaler starts nothing and sends nobody away; the workers that are there go on."""
    return Json(await services.desk.override(queue, caller, paused=True))


@router.post(
    "/v1/scaler/{queue}/resume",
    summary="Resume a fleet",
    responses=documented({200: answer("All that is set now", FleetView, _FLEET)}, *_CHANGES),
)
async def resume_fleet(services: UsedServices, caller: Operator, queue: QueueName) -> Response:
    """The scaler acts again, from its next look on."""
    return Json(await services.desk.override(queue, caller, paused=False))
