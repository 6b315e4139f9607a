"""A refusal in the API's words."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, Response


def problem(status: int, code: str, detail: str, *, retry_after: str | None = None, **more: Any) -> Response:
    """The answer with which the fake gateway refuses."""
    headers = {"Retry-After": retry_after} if retry_after else None
    body = {"title": code, "status": status, "code": code, "detail": detail, "request_id": "r-1", **more}
    return JSONResponse(body, status, headers=headers, media_type="application/problem+json")
