"""What broke, since when, where."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from gateway.lists.asked import Scope, Text
from gateway.lists.views import FailureGroupView, FailuresView
from gateway.openapi import JOB_ID, answer, documented
from gateway.routes.answers import Json
from gateway.routes.lists import ROW
from gateway.services import Authenticated, UsedServices

router = APIRouter(tags=["failures"])

DAY_S, MONTH_S = 86400.0, 30 * 86400.0
_GROUP: dict[str, Any] = {
    "fingerprint": "9f86d081884c7d65",
    "code": "algorithm_error",
    "type": "ValueError",
    "message": "ValueError: no face in picture 4711",
    "count": 412,
    "retried": 12,
    "open": 400,
    "first_at": "2026-11-20T08:00:00.000Z",
    "last_at": "2026-11-22T09:29:58.000Z",
    "points": [0] * 21 + [12, 150, 250],
    "models": [{"name": "cutout", "count": 412}],
    "workers": [{"name": "images-5f0c", "count": 400}, {"name": "images-77aa", "count": 12}],
    "queues": [{"name": "images", "count": 412}],
    "sample_job": JOB_ID,
    "open_job": JOB_ID,
}
_WINDOW = {
    "since": "2026-11-21T09:30:00.000Z",
    "bucket_s": 3600.0,
    "server_time": "2026-11-22T09:30:00.000Z",
}
_ONE = {
    **_GROUP,
    "traceback": 'File "cutout.py", line 12, in run\n    raise ValueError(…)\n',
    "attempt": 1,
    "jobs": [ROW],
    "filter": {"fingerprint": "9f86d081884c7d65", "state": ["expired", "failed"]},
    **_WINDOW,
}
_ERRORS = ("unauthorized", "forbidden", "invalid_request", "unavailable", "internal_error")

Since = Annotated[float, Query(ge=60, le=MONTH_S, description="So far back, seconds")]


@router.get(
    "/v1/failures",
    summary="See what failed",
    responses=documented(
        {200: answer("The latest first", FailuresView, {"groups": [_GROUP], **_WINDOW, "more": False})},
        *_ERRORS,
    ),
)
async def list_failures(
    *,
    services: UsedServices,
    caller: Authenticated,
    since_s: Since = DAY_S,
    model: Annotated[Text | None, Query()] = None,
    queue: Annotated[Text | None, Query()] = None,
    worker: Annotated[Text | None, Query()] = None,
    error: Annotated[Text | None, Query(description="The error's code")] = None,
    scope: Annotated[Scope, Query()] = "tenant",
) -> Response:
    """Jobs that ended `failed` or `expired`, in groups that differ in numbers, ids and paths only."""
    said = {"model": model, "queue": queue, "worker": worker, "error": error}
    return Json(await services.failures.groups(caller, scope, since_s, **said))


@router.get(
    "/v1/failures/{fingerprint}",
    summary="Look into a failure",
    responses=documented({200: answer("The group", FailureGroupView, _ONE)}, "not_found", *_ERRORS),
)
async def look_at_failure(
    *,
    services: UsedServices,
    caller: Authenticated,
    fingerprint: Annotated[str, Path(description="Of the group", max_length=64, pattern=r"^[^\x00]*$")],
    since_s: Since = DAY_S,
    scope: Annotated[Scope, Query()] = "tenant",
) -> Response:
    """A group with a traceback, its latest jobs, and the filter by which a bulk action takes all of it."""
    return Json(await services.failures.group(caller, scope, since_s, fingerprint))
