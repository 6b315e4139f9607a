"""The overview: is it healthy, and if not, why."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from gateway.openapi import JOB_ID, answer, documented
from gateway.operations.views import DecisionView
from gateway.overview.ring import SIZE
from gateway.routes.answers import Json
from gateway.services import Authenticated, UsedServices

router = APIRouter(tags=["overview"])


class _View(BaseModel):
    model_config = ConfigDict(extra="forbid")


class FindingView(_View):
    """Something that somebody should know."""

    level: Literal["bad", "warn", "ok"]
    code: str = Field(description="Stable; `well` where nothing is wrong")
    sentence: str
    cause: str
    command: str | None = Field(
        description="What helps, where a command does; null for keys of tenants that may not run it"
    )
    page: str = Field(description="Of the dashboard, where more is to be seen")
    subject: str | None = Field(
        description="What it is about: a queue, a worker, or the fingerprint of a group of failures"
    )


class StatView(_View):
    """A number and where it was."""

    value: float | None
    points: list[float | None] = Field(description=f"The last {SIZE} steps, oldest first; null is a gap")


class DevicesView(StatView):
    """Devices at work."""

    total: int | None


class CostView(StatView):
    """What it costs; null where no prices are known."""

    currency: str | None


class StatsView(_View):
    """What the page shows large."""

    arrivals_per_s: StatView
    completions_per_s: StatView
    oldest_wait_s: StatView
    p95_wait_s: StatView
    failure_ratio: StatView = Field(
        description="Of jobs that ended after an attempt, 0 to 1; attempts that were repeated are not in it"
    )
    devices_busy: DevicesView
    cost_per_h: CostView


class BacklogView(_View):
    """Live jobs of one queue and priority."""

    queue: str
    priority: int
    waiting: int
    running: int
    oldest_s: float | None


class TotalsView(_View):
    """Live jobs."""

    waiting: int
    running: int
    scheduled: int


class ErrorView(_View):
    """Attempts of the last hour that failed alike."""

    code: str
    model: str
    count: int = Field(description="Those that failed their job")
    retried: int = Field(description="Those that were repeated")
    last_at: AwareDatetime
    message: str = Field(description="The last one's, at most 200 characters")


class UnwellView(_View):
    """A worker that wants a look."""

    id: str
    queue: str
    why: Literal["silent", "draining", "starting_long"]
    sentence: str
    heartbeat_s: float
    jobs: list[str]


class LatestView(DecisionView):
    """A decision on some fleet."""

    queue: str


class OverviewView(_View):
    """All of the dashboard's first page."""

    at: AwareDatetime
    scope: Literal["all", "tenant"] = Field(description="Whose jobs count: a tenant's key sees its own")
    health: FindingView
    findings: list[FindingView] = Field(description="The rest, worst first")
    stats: StatsView
    step_s: float = Field(description="Between two points")
    window_s: float = Field(description="Over which rates, ratios and percentiles are taken")
    n: dict[str, int] = Field(description="How many were looked at for a value")
    backlog: list[BacklogView]
    totals: TotalsView
    errors: list[ErrorView]
    unwell: list[UnwellView]
    decisions: list[LatestView]


def _stat(value: float | None, last: float | None, **more: Any) -> dict[str, Any]:
    return {"value": value, "points": [*[None] * (SIZE - 1), last], **more}


EXAMPLE: dict[str, Any] = {
    "at": "2026-11-22T09:30:00.000Z",
    "scope": "all",
    "health": {
        "level": "bad",
        "code": "no_worker",
        "sentence": "12 jobs wait in images, and no worker serves it.",
        "cause": "The scaler knows the queue and has started none, or it did not come up. "
        "The first has waited 42 s.",
        "command": "leveret scaler explain images",
        "page": "scaler",
        "subject": "images",
    },
    "findings": [],
    "stats": {
        "arrivals_per_s": _stat(12.4, 12.6),
        "completions_per_s": _stat(12.1, 11.8),
        "oldest_wait_s": _stat(42.0, 37.0),
        "p95_wait_s": _stat(1.24, 1.3),
        "failure_ratio": _stat(0.013, 0.0),
        "devices_busy": _stat(3, 3.0, total=4),
        "cost_per_h": _stat(None, None, currency=None),
    },
    "step_s": 5.0,
    "window_s": 60.0,
    "n": {"p95_wait_s": 744, "failure_ratio": 744},
    "backlog": [{"queue": "images", "priority": 9, "waiting": 12, "running": 0, "oldest_s": 42.0}],
    "totals": {"waiting": 12, "running": 3, "scheduled": 1},
    "errors": [
        {
            "code": "algorithm_error",
            "model": "cutout",
            "count": 7,
            "retried": 2,
            "last_at": "2026-11-22T09:29:41.000Z",
            "message": "ValueError: the picture has no face in it",
        }
    ],
    "unwell": [
        {
            "id": "images-5f0c",
            "queue": "images",
            "why": "silent",
            "sentence": "Not heard of for 42 s.",
            "heartbeat_s": 42.0,
            "jobs": [JOB_ID],
        }
    ],
    "decisions": [
        {
            "id": 4711,
            "at": "2026-11-22T09:29:30.000Z",
            "want": 3,
            "have": 2,
            "reason": "12 waiting (12 normal); here: 2 busy; 3 of at most 8 wanted; starting 1",
            "actions": {"launch": 1, "drain": [], "terminate": []},
            "queue": "images",
        }
    ],
}


@router.get(
    "/v1/overview",
    summary="See how it goes",
    responses=documented(
        {200: answer("As of a few seconds ago", OverviewView, EXAMPLE)},
        "unauthorized",
        "unavailable",
        "internal_error",
    ),
)
async def see_overview(services: UsedServices, caller: Authenticated) -> Response:
    """Whether all is well, and if not why and what helps; rates, waits, failures, backlog.

    An operator's key sees all of it. Any other key sees its own tenant's jobs, no workers and no decisions.
    """
    tenant = None if caller.role == "operator" else caller.tenant
    return Json(await services.board.overview(tenant))
