"""Jobs by the page, counted, looked at attempt by attempt, and repeated."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from gateway.lists.asked import CountQuery, ListQuery
from gateway.lists.views import AttemptsView, CountsView, PageView
from gateway.openapi import ACCEPTED, JOB_ID, LINKS, answer, documented
from gateway.routes.answers import Json
from gateway.routes.jobs import LOCATION, IdempotencyKey, Traceparent, accepted_headers, accepted_job
from gateway.services import Authenticated, JobId, UsedServices
from gateway.tracing import traceparent_of
from gateway.views import JobView

router = APIRouter(tags=["jobs"])

_AT = "2026-11-22T09:31:00.000Z"
ROW: dict[str, Any] = {
    "id": JOB_ID,
    "tenant": "acme",
    "model": "cutout",
    "model_version": "1",
    "queue": "images",
    "state": "failed",
    "priority": 7,
    "attempt": 3,
    "max_attempts": 3,
    "worker": "images-5f0c",
    "error": {"code": "algorithm_error", "message": "ValueError: no face in the picture"},
    "fingerprint": "9f86d081884c7d65",
    "queue_reason": None,
    "queue_position": None,
    "cancel_requested": False,
    "progress": 0.0,
    "created_at": "2026-11-22T09:30:00.000Z",
    "run_at": None,
    "queued_at": "2026-11-22T09:30:00.000Z",
    "started_at": "2026-11-22T09:30:00.800Z",
    "finished_at": "2026-11-22T09:30:03.110Z",
    "retry_of": None,
    "seq": 5,
    "age_s": 60.0,
    "wait_s": 0.8,
    "run_s": 2.31,
}
_PAGE = {"jobs": [ROW], "next_cursor": "AZgmoXweey2aVT8PDIwfKw", "searched_to": None, "server_time": _AT}
_STATES = ("waiting", "queued", "running", "succeeded", "failed", "canceled", "expired")
_COUNTS = {
    "counts": {
        state: {"n": 10000, "more": True} if state == "succeeded" else {"n": 2, "more": False}
        for state in _STATES
    },
    "server_time": _AT,
}
_ATTEMPTS = {
    "job": ROW,
    "attempts": [
        {
            "attempt": 3,
            "fence": 3,
            "worker": "images-5f0c",
            "device": "cuda",
            "host": "ip-10-0-1-17",
            "outcome": "failed",
            "started_at": "2026-11-22T09:30:00.800Z",
            "finished_at": "2026-11-22T09:30:03.110Z",
            "run_s": 2.31,
            "timings": {"queue_s": 0.8, "fetch_s": 0.03, "turn_s": 0.02, "load_s": 2.1, "prepare_s": 0.01},
            "batch_size": None,
            "error": {
                "code": "algorithm_error",
                "message": "ValueError: no face in the picture",
                "type": "ValueError",
                "retryable": False,
                "traceback": 'File "cutout.py", line 12, in run\n    raise ValueError(…)\n',
            },
            "log_bytes": 512,
            "machine_s": 2.31,
            "gpu_s": 2.31,
            "cost": "0.0004",
        }
    ],
    "server_time": _AT,
}
_LIST_ERRORS = ("unauthorized", "forbidden", "invalid_request", "unavailable", "internal_error")


@router.get(
    "/v1/jobs",
    summary="List jobs",
    responses=documented({200: answer("Newest first", PageView, _PAGE)}, *_LIST_ERRORS),
)
async def list_jobs(
    services: UsedServices, caller: Authenticated, asked: Annotated[ListQuery, Query()]
) -> Response:
    """Newest first, without what the jobs carry. A page costs the same whatever the number of jobs."""
    return Json(await services.lists.page(caller, asked))


@router.get(
    "/v1/jobs/counts",
    summary="Count jobs",
    responses=documented({200: answer("By state", CountsView, _COUNTS)}, *_LIST_ERRORS),
)
async def count_jobs(
    services: UsedServices, caller: Authenticated, asked: Annotated[CountQuery, Query()]
) -> Response:
    """How many jobs a list would have in each state, counted up to a limit; `state` is ignored."""
    return Json(await services.lists.counts(caller, asked))


@router.post(
    "/v1/jobs/{job_id}/retry",
    status_code=202,
    summary="Run a job again",
    responses=documented(
        {202: answer("A new job", JobView, {**ACCEPTED, "retry_of": JOB_ID}, headers=LOCATION, links=LINKS)},
        "unauthorized",
        "not_found",
        "not_ended",
        "invalid_job",
        "unknown_model",
        "idempotency_conflict",
        "invalid_request",
        "unavailable",
        "outcome_unknown",
        "misconfigured",
        "internal_error",
    ),
)
async def retry(
    *,
    request: Request,  # its body, where it has one, is ignored
    services: UsedServices,
    caller: Authenticated,
    job_id: JobId,
    idempotency_key: IdempotencyKey = None,
    _traceparent: Traceparent = None,
) -> Response:
    """A new job with the same inputs, on the same version of its model while that is offered.

    The job that has ended stays as it is; the new one names it in `retry_of`.
    """
    accepted = await services.retrier.retry(
        caller.tenant, job_id, idempotency_key=idempotency_key, traceparent=traceparent_of(request)
    )
    if accepted.submitted.fresh:
        await services.audit.record(
            caller, "job.retry", str(job_id), detail={"job": str(accepted.submitted.id)}
        )
    return Json(await accepted_job(services, caller, accepted), 202, accepted_headers(services, accepted))


@router.get(
    "/v1/jobs/{job_id}/attempts",
    summary="Look at a job's attempts",
    responses=documented(
        {200: answer("Oldest first", AttemptsView, _ATTEMPTS)},
        "unauthorized",
        "not_found",
        "unavailable",
        "internal_error",
    ),
)
async def list_attempts(services: UsedServices, caller: Authenticated, job_id: JobId) -> Response:
    """Where and for how long each ran, and how it ended; the one under way too.

    Keys of the role `operator` are answered for every tenant's jobs.
    """
    return Json(await services.lists.attempts(caller, job_id))
