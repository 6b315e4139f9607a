"""Every error as RFC 9457 problem+json. The only place that knows HTTP statuses of errors.

`KINDS` is the whole list: docs/api.md, /docs/errors and the OpenAPI document are written from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match, Route

from shared.errors import InvalidJob, LeveretError

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 2


@dataclass(frozen=True, slots=True)
class Kind:
    """One documented error.

    Attributes:
        code: Stable; what a program compares.
        status: The HTTP status it comes with.
        title: The same for every occurrence.
        meaning: What it says about the request, and what to do.
    """

    code: str
    status: int
    title: str
    meaning: str


KINDS: Mapping[str, Kind] = {
    kind.code: kind
    for kind in (
        Kind(
            "malformed_body",
            400,
            "The body cannot be read",
            "It is not the JSON or multipart that its Content-Type announces.",
        ),
        Kind(
            "unauthorized",
            401,
            "No valid API key",
            "Send `Authorization: Bearer lev_…` or `X-API-Key`. The key is missing, unknown or revoked.",
        ),
        Kind(
            "forbidden",
            403,
            "Not for this key",
            "Queues, workers, the scaler and keys are for keys of the role `operator`. Nothing was done.",
        ),
        Kind(
            "csrf_refused",
            403,
            "No page of this gateway asked for it",
            "What a session changes needs its `csrf` as `X-CSRF-Token` and our `Origin`; a key neither.",
        ),
        Kind(
            "not_found",
            404,
            "No such thing",
            "There is nothing at this address for the tenant of this key.",
        ),
        Kind(
            "method_not_allowed",
            405,
            "Method not allowed",
            "The header `Allow` lists the methods of this address.",
        ),
        Kind("job_ended", 409, "The job has ended", "A job in a terminal state never changes again."),
        Kind(
            "not_ended",
            409,
            "The job has not ended",
            "Only a job that has ended can be repeated: cancel it, or wait.",
        ),
        Kind(
            "confirmation_needed",
            409,
            "This is about many jobs",
            "Say the action's `confirm_word` as `confirm`. Nothing was done.",
        ),
        Kind(
            "bulk_started", 409, "The action was started before", "It is no draft: look at it, or abort it."
        ),
        Kind(
            "bulk_ended",
            409,
            "The action has ended",
            "It is done, has failed or was aborted, and takes no further step.",
        ),
        Kind(
            "limits_crossed",
            409,
            "The minimum would be above the maximum",
            "By itself or with what was set before. Set both at once, or give one back with null.",
        ),
        Kind(
            "worker_leaving",
            409,
            "The worker leaves already",
            "It hears within ten seconds that it shall; until then that can be taken back.",
        ),
        Kind(
            "uploads_unavailable",
            409,
            "No direct uploads here",
            "Clients cannot reach this installation's object store: send files with the job itself.",
        ),
        Kind(
            "body_too_large",
            413,
            "The body is too large",
            "`detail` names the limit. Larger inputs go through `POST /v1/uploads` or `s3://`.",
        ),
        Kind(
            "unsupported_media_type",
            415,
            "Unsupported media type",
            "Send `application/json` or `multipart/form-data`.",
        ),
        Kind(
            "invalid_request",
            422,
            "A parameter, header or field does not fit",
            "`errors` lists each with its path.",
        ),
        Kind(
            "invalid_job",
            422,
            "The job does not fit its model",
            "`errors` lists every field that is wrong, by its path. Nothing was accepted.",
        ),
        Kind("unknown_model", 422, "No such model", "`GET /v1/models` lists the models and their versions."),
        Kind(
            "idempotency_conflict",
            422,
            "The Idempotency-Key was used with another body",
            "A key belongs to one request: repeat that one, or take a new key.",
        ),
        Kind("empty_filter", 422, "The filter names nothing", "Say which jobs are meant. Nothing was done."),
        Kind(
            "bulk_too_large",
            422,
            "Too many jobs for one action",
            "At most 50,000, found among at most 100,000 that the filter has to look at: narrow it.",
        ),
        Kind(
            "internal_error",
            500,
            "Something went wrong here",
            "Not the caller's fault. `request_id` finds it in the operator's logs.",
        ),
        Kind(
            "store_error",
            503,
            "The object store does not answer",
            "Nothing was accepted. Repeat after `Retry-After` seconds.",
        ),
        Kind(
            "unavailable",
            503,
            "A server this needs is away",
            "Nothing was accepted or changed. Repeat after `Retry-After` seconds.",
        ),
        Kind(
            "outcome_unknown",
            503,
            "The answer was lost",
            "It may or may not have been accepted: repeat with the same Idempotency-Key, it stays one job.",
        ),
        Kind(
            "misconfigured",
            503,
            "The installation is misconfigured",
            "`detail` names what the operator has to fix. Nothing was accepted.",
        ),
    )
}

_BY_STATUS = {
    400: "malformed_body",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
    422: "invalid_request",
    503: "unavailable",
}
INTERNAL = frozenset({"unavailable", "store_error", "outcome_unknown"})
Errors = Iterable[tuple[str, str]]


def _detail(error: LeveretError, request_id: str) -> str:
    """What a caller may read: which server is away, and where it lives, is the operator's to know."""
    if error.code not in INTERNAL:
        return str(error)
    log.warning("request.failed", code=error.code, request_id=request_id, reason=str(error))
    return KINDS[error.code].meaning


class Problems:
    """Words errors for one installation.

    Args:
        base_url: Its public address, under which /docs/errors explains every code.
    """

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url

    def install(self, app: FastAPI) -> None:
        """Make every error of the application a problem."""
        app.add_exception_handler(LeveretError, self._on_leveret)
        app.add_exception_handler(HTTPException, self._on_http)
        app.add_exception_handler(RequestValidationError, self._on_validation)
        app.add_exception_handler(Exception, self._on_defect)

    def of(self, error: LeveretError, request_id: str) -> Response:
        """The problem for one of our own errors."""
        if error.code not in KINDS:
            return self.response("internal_error", "", request_id)
        errors = error.problems if isinstance(error, InvalidJob) else ()
        return self.response(error.code, _detail(error, request_id), request_id, errors=errors)

    def response(
        self,
        code: str,
        detail: str,
        request_id: str,
        *,
        errors: Errors = (),
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """The problem of a documented code."""
        kind = KINDS[code]
        body = self.document(kind, detail, request_id, errors)
        return Response(
            msgspec.json.encode(body),
            kind.status,
            headers={**_headers(kind), **(headers or {})},
            media_type=MEDIA_TYPE,
        )

    def document(self, kind: Kind, detail: str, request_id: str, errors: Errors = ()) -> dict[str, Any]:
        """The problem's JSON."""
        document: dict[str, Any] = {
            "type": f"{self._base_url}/docs/errors#{kind.code}",
            "title": kind.title,
            "status": kind.status,
            "detail": detail or kind.meaning,
            "code": kind.code,
            "request_id": request_id,
        }
        listed = [{"path": path, "message": message} for path, message in errors]
        return document | ({"errors": listed} if listed else {})

    async def _on_leveret(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, LeveretError)  # noqa: S101  what it is registered for
        return self.of(error, request_id(request))

    async def _on_defect(self, request: Request, _: Exception) -> Response:
        """The answer only: Starlette raises the error again, and the outermost layer logs it."""
        return self.response("internal_error", "", request_id(request))

    async def _on_http(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101  what it is registered for
        code = _BY_STATUS.get(error.status_code, "internal_error")
        plain = HTTPStatus(error.status_code).phrase
        detail = "" if error.detail == plain else error.detail
        headers = {"Allow": _allowed(request)} if code == "method_not_allowed" else error.headers
        return self.response(code, detail, request_id(request), headers=headers)

    async def _on_validation(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101  what it is registered for
        errors = [
            (path_of(entry["loc"]), str(entry["msg"]).removeprefix("Value error, "))
            for entry in error.errors()
        ]
        return self.response("invalid_request", _sentence(errors), request_id(request), errors=errors)


def _allowed(request: Request) -> str:
    """Every method of this address: the first route that has it knows its own only."""
    routes = (route for router in request.app.state.routers for route in router.routes)
    here = [
        route
        for route in routes
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE
    ]
    return ", ".join(sorted({method for route in here for method in route.methods or ()}))


def _sentence(errors: Errors) -> str:
    return "; ".join(f"{path}: {message}" for path, message in errors)


def _headers(kind: Kind) -> dict[str, str]:
    if kind.status == HTTPStatus.SERVICE_UNAVAILABLE:
        return {"Retry-After": str(RETRY_AFTER_S)}
    if kind.status == HTTPStatus.UNAUTHORIZED:
        return {"WWW-Authenticate": 'Bearer realm="leveret"'}
    return {}


def path_of(location: Iterable[object]) -> str:
    """A field path such as `inputs.image.uri`."""
    return ".".join(str(step) for step in location)


def request_id(request: Request) -> str:
    """The id the middleware gave this request."""
    return str(request.scope.get("state", {}).get("request_id", ""))
