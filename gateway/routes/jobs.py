"""Submit a job, look at it, cancel it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response

from gateway.intake import reading
from gateway.openapi import ACCEPTED, LINKS, SUBMIT_BODY, SUCCEEDED, answer, documented
from gateway.ports import Caller
from gateway.routes.answers import Json
from gateway.services import Authenticated, JobId, Services, UsedServices
from gateway.submit import Accepted
from gateway.tracing import traceparent_of
from gateway.views import JobView
from shared.errors import Unavailable
from shared.jobs import Job
from shared.messages import job_document

router = APIRouter(tags=["jobs"])

MAX_WAIT_S = 60
_WAIT = re.compile(r"\s*wait\s*=\s*\"?(\d{1,9})\"?\s*", re.IGNORECASE)

LOCATION = {"Location": {"description": "The job", "schema": {"type": "string", "format": "uri"}}}
_SUBMIT_ANSWERS = documented(
    {
        200: answer("The job has ended within the wait", JobView, SUCCEEDED, headers=LOCATION, links=LINKS),
        202: answer(
            "The job is accepted: it will end, whatever fails",
            JobView,
            ACCEPTED,
            headers=LOCATION,
            links=LINKS,
        ),
    },
    "malformed_body",
    "unauthorized",
    "body_too_large",
    "unsupported_media_type",
    "invalid_job",
    "unknown_model",
    "idempotency_conflict",
    "invalid_request",
    "unavailable",
    "outcome_unknown",
    "store_error",
    "misconfigured",
    "internal_error",
)

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[\x21-\x7e]+$",
        max_length=255,
        description="Repeats with the same key are the same job",
    ),
]
Prefer = Annotated[
    list[str] | None,
    Header(
        alias="Prefer", description="`wait=N` holds the answer up to N seconds (at most 60) for the result"
    ),
]
Traceparent = Annotated[
    str | None, Header(alias="traceparent", description="W3C trace context, passed on to the worker")
]


@router.post(
    "/v1/jobs",
    status_code=202,
    summary="Submit a job",
    responses=_SUBMIT_ANSWERS,
    openapi_extra={"requestBody": SUBMIT_BODY},
)
async def submit(
    *,
    request: Request,
    services: UsedServices,
    caller: Authenticated,
    idempotency_key: IdempotencyKey = None,
    prefer: Prefer = None,
    _traceparent: Traceparent = None,
) -> Response:
    """JSON, or `multipart/form-data` with a file per input: one curl line uploads and submits."""
    async with reading(request) as intake:
        accepted = await services.submitter.submit(
            caller, intake, idempotency_key=idempotency_key, traceparent=traceparent_of(request)
        )
    return await _answer(services, caller, accepted, _wait_s(prefer or ()))


async def _answer(services: Services, caller: Caller, accepted: Accepted, wait_s: int) -> Response:
    job_id, headers = accepted.submitted.id, accepted_headers(services, accepted)
    if wait_s:
        headers["Preference-Applied"] = f"wait={wait_s}"
        if await services.feed.ended(caller.tenant, job_id, within_s=wait_s):
            # What was accepted must not fail any more: with the result out of reach it is an ordinary 202.
            with suppress(Unavailable):
                return Json(await services.lookup.job(caller.tenant, job_id), HTTPStatus.OK, headers)
    return Json(await accepted_job(services, caller, accepted), HTTPStatus.ACCEPTED, headers)


def accepted_headers(services: Services, accepted: Accepted) -> dict[str, str]:
    """Where the job is, and whether it was there before."""
    location = {"Location": services.links.job(str(accepted.submitted.id))}
    return location if accepted.submitted.fresh else {**location, "Idempotency-Replayed": "true"}


async def accepted_job(services: Services, caller: Caller, accepted: Accepted) -> dict[str, Any]:
    """The job; a fresh one is known without a read."""
    if accepted.submitted.fresh:
        return await services.lookup.shown(job_document(_as_inserted(accepted)))
    return await services.lookup.job(caller.tenant, accepted.submitted.id)


def _as_inserted(accepted: Accepted) -> Job:
    new, now = accepted.job, datetime.now(UTC)
    return Job(
        id=new.id,
        tenant=new.tenant,
        model=new.model,
        model_version=new.model_version,
        queue=new.queue,
        state=accepted.submitted.state,
        seq=1,
        priority=new.priority,
        attempt=0,
        max_attempts=new.max_attempts,
        cancel_requested=False,
        progress=0.0,
        inputs=new.inputs,
        params=new.params,
        metadata=new.metadata,
        outputs={},
        error=None,
        timings={},
        retry_of=new.retry_of,
        created_at=now,
        run_at=now + timedelta(seconds=new.delay_s) if new.delay_s else None,
        queued_at=None if new.delay_s else now,
        started_at=None,
        finished_at=None,
        traceparent=new.traceparent,
    )


def _wait_s(prefer: Iterable[str]) -> int:
    """Seconds of `wait=N`; an unknown or malformed preference is no error (RFC 7240)."""
    for preference in ",".join(prefer).split(","):
        if found := _WAIT.fullmatch(preference.partition(";")[0]):
            return min(int(found[1]), MAX_WAIT_S)
    return 0


@router.get(
    "/v1/jobs/{job_id}",
    summary="Look at a job",
    responses=documented(
        {200: answer("The job", JobView, SUCCEEDED)},
        "unauthorized",
        "not_found",
        "unavailable",
        "internal_error",
    ),
)
async def look(services: UsedServices, caller: Authenticated, job_id: JobId) -> Response:
    """The job as it is now; outputs with addresses that are signed anew."""
    return Json(await services.lookup.job(caller.tenant, job_id))


@router.post(
    "/v1/jobs/{job_id}/cancel",
    summary="Cancel a job",
    responses=documented(
        {200: answer("Canceled, or its worker was asked", JobView, ACCEPTED)},
        "unauthorized",
        "not_found",
        "job_ended",
        "unavailable",
        "outcome_unknown",
        "internal_error",
    ),
)
async def cancel(services: UsedServices, caller: Authenticated, job_id: JobId) -> Response:
    """A waiting or queued job ends at once; a running one is asked to, and `cancel_requested` says so."""
    canceled = await services.canceler.cancel(caller.tenant, job_id)
    await services.audit.record(caller, "job.cancel", str(job_id))
    return Json(canceled)
