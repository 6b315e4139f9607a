"""Actions on many jobs: made, begun, watched, stopped."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from gateway.bulk.asked import BulkRequest, BulkStart
from gateway.bulk.desk import NO_ACTION
from gateway.intake import read_body
from gateway.lists.asked import MAX_CURSOR, read_cursor
from gateway.lists.views import BulkPageView, BulkView
from gateway.openapi import JOB_ID, answer, documented
from gateway.refusals import InvalidRequest
from gateway.routes.answers import Json
from gateway.services import Authenticated, UsedServices, parse_id

router = APIRouter(tags=["bulk"])

MAX_PAGE = 100
_BULK: dict[str, Any] = {
    "id": JOB_ID,
    "action": "retry",
    "filter": {"state": ["expired", "failed"], "fingerprint": "9f86d081884c7d65", "retried": "no"},
    "priority": None,
    "count": 412,
    "left_out": 12,
    "state": "draft",
    "done": 0,
    "skipped": 0,
    "failed": 0,
    "confirm_needed": True,
    "confirm_word": "retry",
    "consequence": "Makes 412 new jobs with the same inputs; the old ones stay as they are. "
    "Left out: 12 more that were retried before.",
    "created_by": "acme/laptop",
    "created_at": "2026-11-22T09:30:00.000Z",
    "started_at": None,
    "finished_at": None,
    "error": None,
}
_RUNNING = {**_BULK, "state": "running", "started_at": "2026-11-22T09:30:07.000Z"}
_ABORTED = {**_RUNNING, "state": "aborted", "done": 200, "finished_at": "2026-11-22T09:30:09.000Z"}
_REF = "#/components/schemas/"
_ERRORS = ("unauthorized", "unavailable", "internal_error")
_CHANGES = (*_ERRORS, "not_found", "outcome_unknown")
_LOCATION = {
    "Location": {"description": "The action", "schema": {"type": "string", "format": "uri-reference"}}
}


def _body(name: str, example: object, *, required: bool) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"{_REF}{name}"}, "example": example}}
    return {"requestBody": {"required": required, "content": content}}


def _bulk_id(
    bulk_id: Annotated[str, Path(description="The action's id", json_schema_extra={"format": "uuid"})],
) -> UUID:
    return parse_id(bulk_id, NO_ACTION)


BulkId = Annotated[UUID, Depends(_bulk_id)]


@router.post(
    "/v1/bulk",
    status_code=201,
    summary="Prepare an action on many jobs",
    responses=documented(
        {201: answer("A draft: nothing was done yet", BulkView, _BULK, headers=_LOCATION)},
        *_ERRORS,
        "malformed_body",
        "forbidden",
        "body_too_large",
        "invalid_request",
        "empty_filter",
        "bulk_too_large",
        "outcome_unknown",
    ),
    openapi_extra=_body(
        "BulkRequest", {"action": "retry", "filter": {"fingerprint": "9f86d081884c7d65"}}, required=True
    ),
)
async def create_bulk(request: Request, services: UsedServices, caller: Authenticated) -> Response:
    """Settles which jobs are meant and counts them. Jobs that come later are not touched."""
    made = await services.bulk.create(caller, await read_body(request, BulkRequest))
    return Json(made, 201, {"Location": f"/v1/bulk/{made['id']}"})


@router.get(
    "/v1/bulk",
    summary="List the actions on many jobs",
    responses=documented(
        {200: answer("Newest first", BulkPageView, {"actions": [_RUNNING], "next_cursor": None})},
        *_ERRORS,
        "invalid_request",
    ),
)
async def list_bulk(
    services: UsedServices,
    caller: Authenticated,
    cursor: Annotated[
        str | None, Query(max_length=MAX_CURSOR, description="`next_cursor` of the page before")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="Actions on a page")] = 20,
) -> Response:
    """The tenant's own, newest first."""
    return Json(await services.bulk.page(caller, before=_before(cursor), limit=limit))


@router.get(
    "/v1/bulk/{bulk_id}",
    summary="Look at an action on many jobs",
    responses=documented({200: answer("How far it is", BulkView, _RUNNING)}, *_ERRORS, "not_found"),
)
async def look_at_bulk(services: UsedServices, caller: Authenticated, bulk_id: BulkId) -> Response:
    """How many are done, were skipped because they had changed, or were refused."""
    return Json(await services.bulk.look(caller, bulk_id))


@router.post(
    "/v1/bulk/{bulk_id}/start",
    status_code=202,
    summary="Start an action on many jobs",
    responses=documented(
        {202: answer("It runs", BulkView, _RUNNING)},
        *_CHANGES,
        "malformed_body",
        "body_too_large",
        "invalid_request",
        "confirmation_needed",
        "bulk_started",
    ),
    openapi_extra=_body("BulkStart", {"confirm": "retry"}, required=False),
)
async def start_bulk(
    request: Request, services: UsedServices, caller: Authenticated, bulk_id: BulkId
) -> Response:
    """It goes on in steps whatever becomes of this gateway. From 100 jobs on it takes the `confirm_word`."""
    said = await read_body(request, BulkStart, empty=b"{}")
    return Json(await services.bulk.start(caller, bulk_id, said.confirm), 202)


@router.post(
    "/v1/bulk/{bulk_id}/abort",
    summary="Stop an action on many jobs",
    responses=documented(
        {200: answer("It takes no further step", BulkView, _ABORTED)}, *_CHANGES, "bulk_ended"
    ),
)
async def abort_bulk(services: UsedServices, caller: Authenticated, bulk_id: BulkId) -> Response:
    """What is done stays done; a step that is under way is finished."""
    return Json(await services.bulk.abort(caller, bulk_id))


def _before(cursor: str | None) -> UUID | None:
    try:
        return read_cursor(cursor) if cursor is not None else None
    except ValueError as error:
        raise InvalidRequest([("query.cursor", str(error))]) from None
