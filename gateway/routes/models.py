"""The catalog: what can be run, and what it takes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response

from gateway.openapi import answer, documented
from gateway.routes.answers import Json
from gateway.services import Authenticated, UsedServices
from gateway.views import ModelsView, ModelView
from shared.errors import NotFound

router = APIRouter(tags=["models"])

_MODEL = {
    "name": "cutout",
    "version": "1",
    "description": "Cuts the subject out of its background",
    "queue": "images",
    "timeout_s": 60,
    "max_attempts": 3,
    "inputs": {"image": {"kind": "image", "required": True, "max_bytes": 67108864}},
    "outputs": {"cutout": {"kind": "image", "content_type": "image/png"}},
    "params": {"type": "object", "properties": {}, "required": [], "additionalProperties": False},
}
_ERRORS = ("unauthorized", "unavailable", "internal_error")


@router.get(
    "/v1/models",
    summary="List the models",
    responses=documented({200: answer("The catalog", ModelsView, {"models": [_MODEL]})}, *_ERRORS),
)
async def list_models(services: UsedServices, caller: Authenticated) -> Response:  # noqa: ARG001  keyed
    """Every model and version, with the schema of its inputs, params and outputs."""
    return Json({"models": [model.schema() for model in services.catalog.models]})


@router.get(
    "/v1/models/{name}",
    summary="Look at a model",
    responses=documented({200: answer("The model", ModelView, _MODEL)}, "not_found", *_ERRORS),
)
async def look_at_model(
    services: UsedServices,
    caller: Authenticated,  # noqa: ARG001  the catalog is for holders of a key
    name: Annotated[str, Path(description="`name`, for the newest version, or `name@version`")],
) -> Response:
    """The newest version, or the one that is named."""
    model = services.catalog.find(name)
    if model is None:
        raise NotFound(f"there is no model {name!r} here")
    return Json(model.schema())
