"""How fast the models are."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from gateway.lists.asked import Scope
from gateway.lists.views import AllStatisticsView, StatisticsView
from gateway.openapi import answer, documented
from gateway.routes.answers import Json
from gateway.services import Authenticated, UsedServices

router = APIRouter(tags=["models"])

WEEK_S = 7 * 86400.0
_STATISTICS: dict[str, Any] = {
    "name": "cutout",
    "window_s": 3600.0,
    "n": 240,
    "more": False,
    "wait": {"n": 240, "p50": 0.8, "p95": 3.1, "p99": 4.2},
    "load": {"n": 3, "p50": 2.1, "p95": 2.9, "p99": None},
    "run": {"n": 236, "p50": 0.21, "p95": 0.44, "p99": 2.6},
    "ended": {"succeeded": 220, "failed": 6, "retried": 10, "canceled": 4, "expired": 0},
    "errors": [{"code": "engine_died", "count": 10}, {"code": "algorithm_error", "count": 6}],
    "error_rate": 0.0678,
    "cold_starts": 3,
    "batch_size_p50": 4.0,
    "memory": 184500000,
}
_ALL = {"models": [_STATISTICS], "server_time": "2026-11-22T09:30:00.000Z"}
_ERRORS = ("unauthorized", "forbidden", "invalid_request", "unavailable", "internal_error")

Window = Annotated[float, Query(ge=60, le=WEEK_S, description="So far back, seconds")]


@router.get(
    "/v1/models/statistics",
    summary="See how the models do",
    responses=documented({200: answer("By name", AllStatisticsView, _ALL)}, *_ERRORS),
)
async def list_statistics(
    services: UsedServices,
    caller: Authenticated,
    window_s: Window = 3600.0,
    scope: Annotated[Scope, Query()] = "tenant",
) -> Response:
    """Percentiles of wait, load and run apart, errors and cold starts, all versions of a model together.

    Loads are those that the workers told of: most models are loaded before the first job that needs them.
    """
    return Json(await services.statistics.models(caller, scope, window_s))


@router.get(
    "/v1/models/{name}/statistics",
    summary="See how a model does",
    responses=documented({200: answer("The model's", StatisticsView, _STATISTICS)}, "not_found", *_ERRORS),
)
async def look_at_statistics(
    *,
    services: UsedServices,
    caller: Authenticated,
    name: Annotated[str, Path(description="The model's name, without a version", pattern=r"^[^\x00@]*$")],
    window_s: Window = 3600.0,
    scope: Annotated[Scope, Query()] = "tenant",
) -> Response:
    """The same of one."""
    return Json(await services.statistics.model(caller, scope, window_s, name))
