"""What people did by hand, for operators."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from gateway.lists.asked import Text
from gateway.lists.views import AuditView
from gateway.openapi import answer, documented
from gateway.routes.answers import Json
from gateway.services import Operator, UsedServices

router = APIRouter(tags=["operations"])

MAX_PAGE = 200
_AUDIT: dict[str, Any] = {
    "entries": [
        {
            "id": 812,
            "at": "2026-11-22T09:30:00.000Z",
            "by": "acme/laptop",
            "action": "worker.drain",
            "target": "images-5f0c",
            "count": None,
            "detail": {},
        }
    ],
    "next_cursor": "812",
}


@router.get(
    "/v1/audit",
    summary="See who did what",
    responses=documented(
        {200: answer("Newest first", AuditView, _AUDIT)},
        "unauthorized",
        "forbidden",
        "invalid_request",
        "unavailable",
        "internal_error",
    ),
)
async def list_audit(
    *,
    services: UsedServices,
    caller: Operator,  # noqa: ARG001  the role counts
    action: Annotated[Text | None, Query(description="Only this action")] = None,
    by: Annotated[Text | None, Query(description="Only by this key, as tenant/name")] = None,
    cursor: Annotated[
        str | None, Query(pattern="^[1-9][0-9]{0,17}$", description="`next_cursor` of the page before")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="Entries on a page")] = 50,
) -> Response:
    """What was done by hand, by whom and when: cancels, retries, bulk actions, drains, limits of fleets."""
    before = int(cursor) if cursor else None
    return Json(await services.audit.page(action=action, actor=by, before=before, limit=limit))
