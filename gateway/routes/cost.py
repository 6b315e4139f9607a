"""What machines cost: for operators all of it, for a tenant what it used."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from gateway.openapi import answer, documented
from gateway.operations.views import CostsView
from gateway.routes.answers import Json
from gateway.schemas import Moment
from gateway.services import Authenticated, UsedServices

router = APIRouter(tags=["cost"])

MAX_ROWS = 1000


class Question(BaseModel):
    """Which costs."""

    by: Literal["tenant", "model", "queue", "day", "job"] = Field(
        default="queue", description="What a row stands for"
    )
    since: Moment | None = Field(default=None, description="RFC 3339; seven days before `until` by default")
    until: Moment | None = Field(default=None, description="RFC 3339; now by default")
    limit: int = Field(default=100, ge=1, le=MAX_ROWS, description="Rows at most")


_ROW: dict[str, Any] = {
    "key": "acme",
    "jobs": 1200,
    "attempts": 1260,
    "machine_s": 34440.0,
    "gpu_s": 34440.0,
    "used": "3.731",
    "wasted_attempts": 60,
    "wasted_s": 1200.0,
    "wasted": "0.13",
    "idle": "1.2436667",
    "paid": "4.9746667",
    "paid_s": None,
    "per_1000_jobs": "4.14555558",
    "unpriced_s": 0.0,
}
_COSTS = {
    "by": "tenant",
    "since": "2026-11-15T09:00:00.000Z",
    "until": "2026-11-22T09:30:00.000Z",
    "currency": "USD",
    "rows": [_ROW],
    "total": {**_ROW, "key": None, "paid_s": 45920.0},
    "partial": False,
}


@router.get(
    "/v1/cost",
    summary="See what it costs",
    responses=documented(
        {200: answer("By key", CostsView, _COSTS)},
        "unauthorized",
        "invalid_request",
        "unavailable",
        "internal_error",
    ),
)
async def see_cost(
    services: UsedServices, caller: Authenticated, question: Annotated[Question, Query()]
) -> Response:
    """What was used, what was paid, and what idled, by whole hours.

    A key of the role `user` sees its own tenant's jobs, and what these used.
    """
    span = (question.since, question.until)
    return Json(await services.accounts.cost(caller, question.by, span, question.limit))
