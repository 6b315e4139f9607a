"""Logging in with a key, for browsers: a cookie that stands for it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from gateway.auth import COOKIE, SESSION_S, Session
from gateway.intake import read_body
from gateway.openapi import LOGIN_BODY, answer, documented
from gateway.ports import Holder
from gateway.routes.answers import Json
from gateway.schemas import Login
from gateway.services import Authenticated, Services, UsedServices
from gateway.settings import Gateway
from shared.events import timestamp

router = APIRouter(tags=["session"])

_ERRORS = ("unauthorized", "unavailable", "internal_error")
_CSRF = "4mRkT2o0qv7C1nq0hY3e9oZJb1r8b2mYw6y5cJm0p1A"
_LOGGED_IN = {
    "tenant": "default",
    "role": "operator",
    "name": "laptop",
    "csrf": _CSRF,
    "expires_at": "2026-11-22T21:30:00.000Z",
    "currency": "USD",
    "grafana": "https://grafana.example.com",
}
_SET_COOKIE = {
    "Set-Cookie": {"schema": {"type": "string"}, "description": f"`{COOKIE}`: HttpOnly, SameSite=Strict"}
}


class SessionView(BaseModel):
    """Who is logged in."""

    model_config = ConfigDict(extra="forbid")

    tenant: str
    role: str = Field(description="`user` or `operator`")
    name: str = Field(description="The key's")
    csrf: str | None = Field(
        description="To be sent as `X-CSRF-Token` with whatever changes something; null where a key was sent"
    )
    expires_at: AwareDatetime | None = Field(description="When the session ends at the latest; null: as csrf")
    currency: str = Field(description="Of all prices of this deployment")
    grafana: str | None = Field(description="Where operators find the metrics' boards, if anybody said")


@router.post(
    "/v1/session",
    status_code=201,
    summary="Log in",
    responses=documented(
        {201: answer("Logged in", SessionView, _LOGGED_IN, headers=_SET_COOKIE)},
        *_ERRORS,
        "csrf_refused",
        "malformed_body",
        "body_too_large",
        "invalid_request",
        "outcome_unknown",
    ),
    openapi_extra={"requestBody": LOGIN_BODY},
)
async def log_in(request: Request, services: UsedServices) -> Response:
    """A cookie that stands for the key, for twelve hours at most; it ends with its key."""
    said = await read_body(request, Login)
    session = await services.auth.log_in(said.key, request.headers)
    answered = Json(_document(session.holder, session, services), 201)
    answered.set_cookie(value=session.secret, max_age=round(SESSION_S), **_cookie(services.settings))
    return answered


def _cookie(settings: Gateway) -> dict[str, Any]:
    secure = settings.base_url.startswith("https:")
    return {"key": COOKIE, "path": "/", "httponly": True, "samesite": "strict", "secure": secure}


@router.get(
    "/v1/session",
    summary="See who is logged in",
    responses=documented({200: answer("Whose key it is", SessionView, _LOGGED_IN)}, *_ERRORS),
)
async def see_session(request: Request, services: UsedServices, caller: Authenticated) -> Response:
    """Of the session in the cookie, or of the key in the header."""
    session = await services.auth.session(request.headers)
    mine = session if session and session.holder is caller else None
    return Json(_document(caller, mine, services))


def _document(holder: Holder, session: Session | None, services: Services) -> dict[str, Any]:
    return {
        "tenant": holder.tenant,
        "role": holder.role,
        "name": holder.name,
        "csrf": session.csrf if session else None,
        "expires_at": timestamp(session.expires_at) if session else None,
        "currency": services.effective.cost.currency,
        "grafana": services.settings.grafana if holder.role == "operator" else None,
    }


@router.delete(
    "/v1/session",
    status_code=204,
    summary="Log out",
    responses=documented(
        {204: {"description": "Nobody is logged in any more", "headers": _SET_COOKIE}},
        *_ERRORS,
        "csrf_refused",
        "outcome_unknown",
    ),
)
async def log_out(request: Request, services: UsedServices, caller: Authenticated) -> Response:  # noqa: ARG001
    """The session ends here at once, and at other gateways within ten seconds."""
    await services.auth.log_out(request.headers)
    answered = Response(status_code=HTTPStatus.NO_CONTENT)
    answered.delete_cookie(**_cookie(services.settings))
    return answered
