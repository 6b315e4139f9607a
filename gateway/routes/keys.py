"""API keys and settings: who may do what, and within which limits."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from gateway.intake import read_body
from gateway.openapi import KEY_BODY, answer, documented
from gateway.operations import effective
from gateway.operations.keyring import NO_KEY
from gateway.routes.answers import Json
from gateway.schemas import NewKey
from gateway.services import Authenticated, Operator, UsedServices, parse_id

router = APIRouter(tags=["keys"])

_ERRORS = ("unauthorized", "unavailable", "internal_error")
_ID = "019826a1-0a3c-7d2b-9a55-3f0c8c1f2b6e"


class _View(BaseModel):
    model_config = ConfigDict(extra="forbid")


class KeyView(_View):
    """What is known of a key."""

    id: str = Field(examples=[_ID])
    tenant: str
    name: str
    role: Literal["user", "operator"]
    prefix: str = Field(description="Its first characters", examples=["lev_AbCd"])
    created_at: AwareDatetime
    created_by: str | None = Field(description="As tenant/name; null: at the command line")
    last_used_at: AwareDatetime | None = Field(description="Exact to a minute; null: never")
    expires_at: AwareDatetime | None = Field(description="null: never")
    revoked_at: AwareDatetime | None
    mine: bool = Field(description="It is the one that asks")


class KeysView(_View):
    """Every key."""

    keys: list[KeyView]


class IssuedView(_View):
    """A new key."""

    key: KeyView
    secret: str = Field(description="Shown this once", examples=[f"lev_{'A' * 43}"])


class LimitsView(_View):
    """What a request may say at most."""

    max_body_bytes: int
    max_json_bytes: int
    max_metadata_bytes: int
    max_data_bytes: int
    max_timeout_s: int
    max_delay_s: int
    max_attempts: int
    wait_max_s: int
    live_rows: int


class RetentionView(_View):
    """For how long what is kept, in seconds; null: for ever."""

    hot_results_s: int
    jobs_s: int | None
    objects_s: int | None


class SettingView(_View):
    """A variable of the gateway."""

    name: str
    value: Any = Field(description="null where it is a secret, or nothing")
    secret: bool
    default: bool = Field(description="Nobody has set it, or to what it is anyway")


class SettingsView(_View):
    """What is in force."""

    version: str = Field(description="Of the API")
    limits: LimitsView
    retention: RetentionView
    settings: list[SettingView] = Field(description="For operators; empty for any other key")


_KEY: dict[str, Any] = {
    "id": _ID,
    "tenant": "acme",
    "name": "ci",
    "role": "user",
    "prefix": "lev_AbCd",
    "created_at": "2026-11-22T09:00:00.000Z",
    "created_by": "default/laptop",
    "last_used_at": None,
    "expires_at": None,
    "revoked_at": None,
    "mine": False,
}
_SETTINGS: dict[str, Any] = {
    "version": "1",
    "limits": effective.limits(67108864),
    "retention": {"hot_results_s": 604800, "jobs_s": None, "objects_s": None},
    "settings": [
        {"name": "LEVERET_POSTGRES_DSN", "value": None, "secret": True, "default": False},
        {"name": "LEVERET_GATEWAY_PORT", "value": 8000, "secret": False, "default": True},
    ],
}


@router.get(
    "/v1/admin/keys",
    summary="See the keys",
    responses=documented({200: answer("Newest first", KeysView, {"keys": [_KEY]})}, *_ERRORS, "forbidden"),
)
async def list_keys(services: UsedServices, caller: Operator) -> Response:
    """All tenants' keys, the ended ones too; of each its first characters, never the key."""
    return Json({"keys": await services.keyring.keys(caller)})


@router.post(
    "/v1/admin/keys",
    status_code=201,
    summary="Make a key",
    responses=documented(
        {201: answer("The key, this once", IssuedView, {"key": _KEY, "secret": f"lev_{'A' * 43}"})},
        *_ERRORS,
        "forbidden",
        "malformed_body",
        "body_too_large",
        "invalid_request",
        "outcome_unknown",
    ),
    openapi_extra={"requestBody": KEY_BODY},
)
async def create_key(request: Request, services: UsedServices, caller: Operator) -> Response:
    """For a tenant, which is made if it is new; the caller's own where none is said."""
    said = await read_body(request, NewKey)
    issued = await services.keyring.create(
        caller, tenant=said.tenant, name=said.name, role=said.role, expires_in_s=said.expires_in_s
    )
    return Json(issued, 201, {"Cache-Control": "no-store"})


@router.delete(
    "/v1/admin/keys/{key_id}",
    summary="Revoke a key",
    responses=documented(
        {200: answer("It ended", KeyView, _KEY | {"revoked_at": "2026-11-22T10:00:00.000Z"})},
        *_ERRORS,
        "forbidden",
        "not_found",
        "outcome_unknown",
    ),
)
async def revoke_key(
    services: UsedServices,
    caller: Operator,
    key_id: Annotated[str, Path(description="The key's id", json_schema_extra={"format": "uuid"})],
) -> Response:
    """Whoever uses it, or is logged in with it, is refused within ten seconds. Again changes nothing."""
    return Json(await services.keyring.revoke(caller, parse_id(key_id, NO_KEY)))


@router.get(
    "/v1/settings",
    summary="See limits and settings",
    responses=documented({200: answer("What is in force", SettingsView, _SETTINGS)}, *_ERRORS),
)
async def see_settings(services: UsedServices, caller: Authenticated) -> Response:
    """What requests may say, how long what is kept, and for operators the gateway's own variables."""
    shown = services.effective
    return Json(
        {
            "version": "1",
            "limits": effective.limits(services.settings.max_body_bytes),
            "retention": effective.retention(shown),
            "settings": effective.in_force(shown) if caller.role == "operator" else [],
        }
    )
