"""How it went over time, for charts."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from gateway.lists.asked import Scope
from gateway.openapi import answer, documented
from gateway.overview.history import OUTCOMES, STEPS
from gateway.routes.answers import Json
from gateway.routes.statistics import Window
from gateway.services import Authenticated, UsedServices

router = APIRouter(tags=["overview"])


class _View(BaseModel):
    model_config = ConfigDict(extra="forbid")


class LinesView(_View):
    """Seconds, step by step; null where nothing says so."""

    p50: list[float | None]
    p95: list[float | None]
    p99: list[float | None] = Field(description="Null in a step of fewer than 100")


class OutcomesView(_View):
    """How many ended how, step by step."""

    succeeded: list[int]
    failed: list[int] = Field(description="Attempts that failed their job, those whose worker died as well")
    retried: list[int] = Field(description="Attempts that failed and were repeated")
    canceled: list[int]
    expired: list[int] = Field(description="Jobs; they had no attempt")


class DepthView(_View):
    """One queue's."""

    queue: str
    points: list[int | None] = Field(description="Jobs that waited when most did; null where nobody looked")


class BacklogView(_View):
    """What waited, as this gateway saw it every ten seconds since its start."""

    seen: list[bool] = Field(description="Whether it looked within the step")
    queues: list[DepthView] = Field(description="Those in which anything waited")


class HistoryView(_View):
    """The window in equal steps, oldest first; the last one is under way."""

    from_: AwareDatetime = Field(alias="from", description="When the first step begins")
    step_s: float
    n: list[int] = Field(description="Attempts that ended and were looked at")
    more: list[bool] = Field(description="The step held more: its newest 1,000 count, or of 300 yours")
    wait: LinesView = Field(description="In the queue")
    run: LinesView = Field(description="The whole attempt, unless it was cut short")
    ended: OutcomesView
    backlog: BacklogView | None = Field(description="With `scope=all` and no model")


def _points(last: object) -> list[Any]:
    return [*[None] * (STEPS - 1), last]


def _counts(last: int) -> list[int]:
    return [*[0] * (STEPS - 1), last]


EXAMPLE: dict[str, Any] = {
    "from": "2026-11-22T08:31:00.000Z",
    "step_s": 60.0,
    "n": _counts(240),
    "more": [False] * STEPS,
    "wait": {"p50": _points(0.8), "p95": _points(3.1), "p99": _points(4.2)},
    "run": {"p50": _points(0.21), "p95": _points(0.44), "p99": _points(2.6)},
    "ended": {name: _counts(234 if name == "succeeded" else 2) for name in OUTCOMES},
    "backlog": {"seen": [True] * STEPS, "queues": [{"queue": "images", "points": _counts(12)}]},
}


@router.get(
    "/v1/history",
    summary="See how it went",
    responses=documented(
        {200: answer("Oldest first", HistoryView, EXAMPLE)},
        "unauthorized",
        "forbidden",
        "invalid_request",
        "unavailable",
        "internal_error",
    ),
)
async def see_history(
    *,
    services: UsedServices,
    caller: Authenticated,
    window_s: Window = 3600.0,
    model: Annotated[str | None, Query(description="Of this one only", pattern=r"^[^\x00@]*$")] = None,
    scope: Annotated[Scope, Query()] = "tenant",
) -> Response:
    """Percentiles of wait and run, outcomes and backlog over time, each step by itself."""
    return Json(await services.history.history(caller, scope, window_s, model))
