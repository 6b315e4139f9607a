"""Bytes and texts around a job: uploads before it, outputs and logs after it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.responses import RedirectResponse, StreamingResponse
from uuid_utils.compat import uuid7

from gateway.intake import OCTETS, parse, small_body
from gateway.links import filename
from gateway.openapi import JOB_ID, UPLOAD_BODY, answer, documented
from gateway.refusals import UploadsUnavailable
from gateway.routes.answers import Json
from gateway.schemas import MEDIA_TYPE, UploadRequest
from gateway.services import Authenticated, JobId, Services, UsedServices
from gateway.views import LogsView, UploadView
from shared.errors import InputUnavailable, NotFound
from shared.events import timestamp
from shared.jobs import Attempt
from shared.tariff import money

router = APIRouter(tags=["inputs and outputs"])

MAX_ATTEMPT = 32767
_TYPE = re.compile(MEDIA_TYPE)

_UPLOAD = {
    "upload_id": JOB_ID,
    "method": "PUT",
    "url": "https://s3.example.org/leveret/default/uploads/…",
    "headers": {"Content-Type": "image/jpeg"},
}
_INERT = {
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, no-cache",
}
"""The bytes are somebody's: a browser that opens them on our address must run nothing of them."""
_LOGS = {
    "attempts": [
        {
            "attempt": 1,
            "worker": "worker-1",
            "outcome": "succeeded",
            "started_at": "2026-11-22T09:30:00.923Z",
            "finished_at": "2026-11-22T09:30:01.043Z",
            "error": None,
            "timings": {"infer_s": 0.02},
            "device": "cuda",
            "machine_s": 0.12,
            "gpu_s": 0.12,
            "cost": "0.0000333333",
            "log": "matting 512 x 512\n",
        }
    ]
}


@router.post(
    "/v1/uploads",
    status_code=201,
    summary="Prepare an upload",
    responses=documented(
        {201: answer("Where to put the file", UploadView, _UPLOAD)},
        "malformed_body",
        "unauthorized",
        "uploads_unavailable",
        "body_too_large",
        "invalid_job",
        "unavailable",
        "internal_error",
    ),
    openapi_extra={"requestBody": UPLOAD_BODY},
)
async def prepare_upload(request: Request, services: UsedServices, caller: Authenticated) -> Response:
    """An address for one PUT of the bytes, and the `upload_id` to name them as an input."""
    if not services.links.public_store:
        raise UploadsUnavailable("send the file with POST /v1/jobs instead")
    asked = parse(UploadRequest, await small_body(request) or b"{}")
    upload_id = str(uuid7())
    url = await services.objects.presigned_put(f"{caller.tenant}/uploads/{upload_id}", asked.content_type)
    headers = {"Content-Type": asked.content_type}
    return Json({"upload_id": upload_id, "method": "PUT", "url": url, "headers": headers}, 201)


@router.get(
    "/v1/jobs/{job_id}/outputs/{name}",
    status_code=307,
    summary="Read an output",
    responses=documented(
        {
            200: {
                "description": "The bytes, where clients cannot reach the object store",
                "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
            },
            307: {
                "description": "Where the bytes are",
                "headers": {"Location": {"schema": {"type": "string", "format": "uri"}}},
            },
        },
        "unauthorized",
        "not_found",
        "invalid_request",
        "unavailable",
        "store_error",
        "internal_error",
    ),
)
async def read_output(
    services: UsedServices,
    caller: Authenticated,
    job_id: JobId,
    name: Annotated[str, Path(description="The output's name")],
    through: Annotated[
        Literal["gateway"] | None,
        Query(description="`gateway`: the bytes themselves, also where clients can reach the object store"),
    ] = None,
) -> Response:
    """A redirect to a signed address, or the bytes themselves."""
    output = await services.lookup.output(caller.tenant, job_id, name)
    if services.links.public_store and through is None:
        return RedirectResponse(await services.links.output(str(job_id), name, output), 307)
    return await _streamed(services, output["uri"], output["size"], output["content_type"])


@router.get(
    "/v1/jobs/{job_id}/inputs/{name}",
    summary="Read an input",
    responses=documented(
        {
            200: {
                "description": "The bytes as they were given; a JSON value as JSON",
                "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
            }
        },
        "unauthorized",
        "not_found",
        "unavailable",
        "store_error",
        "internal_error",
    ),
)
async def read_input(
    services: UsedServices,
    caller: Authenticated,
    job_id: JobId,
    name: Annotated[str, Path(description="The input's name")],
) -> Response:
    """What the job was given. Bytes that came from a public address are not kept: 404."""
    given = (await services.lookup.row(caller.tenant, job_id)).inputs.get(name)
    if given is None:
        raise NotFound(f"the job has no input {name!r}")
    if "json" in given:
        return Json(given["json"], headers=_INERT)
    uri = str(given["uri"])
    head = await services.objects.head(uri) if uri.startswith("s3://") else None
    if head is None:
        raise NotFound("the input's bytes are not kept here")
    return await _streamed(services, uri, head.size, head.content_type)


async def _streamed(services: Services, uri: str, size: int, content_type: str) -> Response:
    pieces = aiter(services.objects.stream(uri))
    try:
        first = await anext(pieces, b"")
    except InputUnavailable as error:
        raise NotFound("the bytes are not there any more") from error
    headers = {
        **_INERT,
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(filename({'uri': uri}), safe='')}",
        "Content-Length": str(size),
    }
    # What an algorithm or an upload calls itself may be no type, and not even fit into a header.
    known = content_type if _TYPE.fullmatch(content_type) else OCTETS
    return StreamingResponse(_chained(first, pieces), 200, headers, known)


async def _chained(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


@router.get(
    "/v1/jobs/{job_id}/logs",
    summary="Read what the algorithm printed",
    responses=documented(
        {200: answer("Per attempt that has ended", LogsView, _LOGS)},
        "unauthorized",
        "not_found",
        "invalid_request",
        "unavailable",
        "internal_error",
    ),
)
async def read_logs(
    services: UsedServices,
    caller: Authenticated,
    job_id: JobId,
    attempt: Annotated[int | None, Query(ge=1, le=MAX_ATTEMPT, description="Only this one")] = None,
) -> Response:
    """The last 64 KiB of each attempt, with its error and timings.

    Keys of the role `operator` are answered for every tenant's jobs.
    """
    found = await services.lookup.attempts(await services.lists.whose(caller, job_id), job_id)
    return Json({"attempts": [_shown(each) for each in found if attempt in {None, each.attempt}]})


def _shown(attempt: Attempt) -> dict[str, Any]:
    return {
        "attempt": attempt.attempt,
        "worker": attempt.worker,
        "outcome": attempt.outcome,
        "started_at": timestamp(attempt.started_at),
        "finished_at": timestamp(attempt.finished_at),
        "error": attempt.error,
        "timings": attempt.timings,
        "device": attempt.device,
        "machine_s": attempt.machine_s,
        "gpu_s": attempt.gpu_s,
        "cost": money(attempt.cost),
        "log": attempt.log,
    }
