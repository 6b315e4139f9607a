"""The API's description: what FastAPI cannot see by itself, with an example for every answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel

from gateway import views
from gateway.bulk.asked import BulkRequest, BulkStart
from gateway.problems import KINDS, MEDIA_TYPE, Problems
from gateway.schemas import FleetLimits, Login, NewKey, Options, Submission, UploadRequest

Responses = dict[int | str, dict[str, Any]]
_REF = "#/components/schemas/"
_CHANGING = frozenset({"post", "put", "patch", "delete"})
_REQUEST_ID = "019826a1-7c1e-7d2b-9a55-3f0c8c1f2b6e"
JOB_ID = "019826a1-7c1e-7d2b-9a55-3f0c8c1f2b6e"

_FIELD_EXAMPLES = {
    "invalid_job": [("priority", "Input should be less than or equal to 10")],
    "unknown_model": [("model", "there is no model 'cutuot' here")],
    "invalid_request": [("query.after", "Input should be greater than or equal to 0")],
}
ACCEPTED: dict[str, Any] = {
    "id": JOB_ID,
    "model": "cutout",
    "model_version": "1",
    "queue": "images",
    "state": "queued",
    "done": False,
    "seq": 1,
    "cancel_requested": False,
    "priority": 7,
    "attempt": 0,
    "max_attempts": 3,
    "retry_of": None,
    "queue_position": None,
    "queue_reason": None,
    "estimated_start_at": None,
    "inputs": {"image": {"uri": f"s3://leveret/default/uploads/{_REQUEST_ID}"}},
    "params": {},
    "metadata": {},
    "outputs": {},
    "error": None,
    "progress": 0.0,
    "created_at": "2026-11-22T09:30:00.123Z",
    "run_at": None,
    "queued_at": "2026-11-22T09:30:00.123Z",
    "started_at": None,
    "finished_at": None,
    "timings": {},
    "receipt": None,
    "trace": {"id": "4bf92f3577b34da6a3ce929d0e0e4736", "recorded": True},
    "urls": {
        "self": f"http://127.0.0.1:8000/v1/jobs/{JOB_ID}",
        "events": f"http://127.0.0.1:8000/v1/jobs/{JOB_ID}/events",
        "stream": f"ws://127.0.0.1:8000/v1/jobs/{JOB_ID}/stream",
        "cancel": f"http://127.0.0.1:8000/v1/jobs/{JOB_ID}/cancel",
        "logs": f"http://127.0.0.1:8000/v1/jobs/{JOB_ID}/logs",
    },
}
RECEIPT: dict[str, Any] = {
    "attempts": 1,
    "machine_s": 0.12,
    "gpu_s": 0.12,
    "cost": "0.0000333333",
    "currency": "USD",
    "wasted_attempts": 0,
    "wasted_s": 0.0,
    "wasted_cost": "0",
    "worker": "images-5f0c",
    "device": "cuda",
}
OUTPUT: dict[str, Any] = {
    "uri": f"s3://leveret/default/{JOB_ID}/1/cutout.png",
    "url": "https://s3.example.org/leveret/default/…",
    "content_type": "image/png",
    "size": 81234,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "metadata": {"width": 512, "height": 512},
}
SUCCEEDED = ACCEPTED | {
    "state": "succeeded",
    "done": True,
    "seq": 3,
    "attempt": 1,
    "progress": 1.0,
    "outputs": {"cutout": OUTPUT},
    "started_at": "2026-11-22T09:30:00.923Z",
    "finished_at": "2026-11-22T09:30:01.043Z",
    "timings": {
        "queue_s": 0.8,
        "fetch_s": 0.03,
        "turn_s": 0.02,
        "prepare_s": 0.01,
        "infer_s": 0.02,
        "store_s": 0.04,
    },
    "receipt": RECEIPT,
}
TERMINAL_EVENT = {
    "seq": 3,
    "job_id": JOB_ID,
    "type": "job.succeeded",
    "at": "2026-11-22T09:30:01.043Z",
    "data": {"outputs": {"cutout": OUTPUT}, "receipt": RECEIPT},
}
SUBMISSION = {
    "model": "cutout",
    "inputs": {"image": {"uri": "s3://my-bucket/faces/1.jpg"}},
    "priority": 7,
    "metadata": {"order": "4711"},
}

SUBMIT_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {"schema": {"$ref": f"{_REF}Submission"}, "example": SUBMISSION},
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["model"],
                "properties": {
                    "model": {"type": "string", "description": "`name` or `name@version`"},
                    "options": {
                        "description": "Everything else of a job, as JSON",
                        "$ref": f"{_REF}Options",
                    },
                },
                "additionalProperties": {
                    "type": "string",
                    "contentMediaType": "application/octet-stream",
                    "description": "A file: the input of that name",
                },
            },
            "encoding": {"options": {"contentType": "application/json"}},
        },
    },
}
UPLOAD_BODY: dict[str, Any] = {
    "required": False,
    "content": {
        "application/json": {
            "schema": {"$ref": f"{_REF}UploadRequest"},
            "example": {"content_type": "image/jpeg"},
        }
    },
}
LIMITS_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {"schema": {"$ref": f"{_REF}FleetLimits"}, "example": {"min": 2, "max": 8}}
    },
}
LOGIN_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {"schema": {"$ref": f"{_REF}Login"}, "example": {"key": f"lev_{'A' * 43}"}}
    },
}
KEY_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {"$ref": f"{_REF}NewKey"},
            "example": {"name": "ci", "tenant": "acme", "expires_in_s": 7776000},
        }
    },
}


LINKS = {
    name: {"operationId": name, "parameters": {"job_id": "$response.body#/id"}}
    for name in ("look", "cancel", "events", "read_logs")
}
"""What can be asked next about the job in an answer."""


def answer(description: str, model: type[BaseModel], example: object, **more: Any) -> dict[str, Any]:
    """A successful answer with its shape and an example."""
    content = {"application/json": {"example": example}}
    return {"description": description, "model": model, "content": content, **more}


def documented(answers: Mapping[int, dict[str, Any]], *codes: str) -> Responses:
    """All that a route may answer: its own answers, and by status the errors, each code with an example."""
    found: Responses = {status: said for status, said in answers.items()}  # noqa: C416  widens the key's type
    for code in codes:
        status = KINDS[code].status
        _add_error(found.setdefault(status, _no_error()), code)
    return found


def _no_error() -> dict[str, Any]:
    return {"description": "", "content": {MEDIA_TYPE: _problem()}}


def _add_error(entry: dict[str, Any], code: str) -> None:
    kind = KINDS[code]
    entry["description"] = " / ".join(filter(None, [entry["description"], kind.title]))
    entry["content"][MEDIA_TYPE]["examples"][code] = {"summary": kind.title, "value": _example(code)}


def _problem() -> dict[str, Any]:
    return {"schema": {"$ref": f"{_REF}ProblemView"}, "examples": {}}


def _example(code: str) -> dict[str, Any]:
    errors = _FIELD_EXAMPLES.get(code, ())
    detail = "; ".join(f"{path}: {message}" for path, message in errors)
    return Problems("http://127.0.0.1:8000").document(KINDS[code], detail, _REQUEST_ID, errors)


_READ = (
    *(Submission, Options, UploadRequest, FleetLimits, Login, NewKey, BulkRequest, BulkStart),
    views.ProblemView,
)
"""What routes read by themselves."""


def describe(app: FastAPI, routers: Iterable[APIRouter]) -> None:
    """Add the schemas of what routes read and refuse by themselves, and examples as they were given.

    Args:
        app: The application.
        routers: All that it includes, none with a prefix.
    """
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            for model in _READ:
                schemas.update(_schemas(model))
            _drop_default_errors(document)
            _restore_examples(routers, document)
            _document_csrf(document)
        return generate()

    app.openapi = openapi  # type: ignore[method-assign]  # the way FastAPI documents


def _restore_examples(routers: Iterable[APIRouter], document: dict[str, Any]) -> None:
    """FastAPI drops every null of an example, which then lacks fields that its schema requires."""
    for route in (route for router in routers for route in router.routes):
        if isinstance(route, APIRoute) and route.include_in_schema:
            for method in route.methods or ():
                described = document["paths"][route.path_format][method.lower()]
                _restore(route.responses, described["responses"])


def _restore(said: Responses, described: dict[str, Any]) -> None:
    for status, given in said.items():
        for media, content in given.get("content", {}).items():
            examples = {name: content[name] for name in ("example", "examples") if name in content}
            described[str(status)]["content"][media].update(examples)


def _document_csrf(document: dict[str, Any]) -> None:
    """Whatever changes something may be refused to a session, by all routes alike."""
    for path in document["paths"].values():
        for method, operation in path.items():
            answers = operation["responses"]
            if method in _CHANGING and "401" in answers:
                entry = answers.setdefault("403", _no_error())
                if "csrf_refused" not in entry["content"][MEDIA_TYPE]["examples"]:
                    _add_error(entry, "csrf_refused")


def _drop_default_errors(document: dict[str, Any]) -> None:
    """FastAPI promises its own kind of 422 wherever a route has a parameter; no route of ours answers it."""
    for path in document["paths"].values():
        for operation in path.values():
            if "HTTPValidationError" in str(operation["responses"].get("422")):
                del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)


def _schemas(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema(ref_template=_REF + "{model}")
    return {**schema.pop("$defs", {}), model.__name__: schema}
