"""Everything the client can raise, as one tree. Standard library only.

LeveretError
├── ConfigError            no URL or key, or one that cannot be used
├── InputError             a value that cannot be sent: a file that is not there, a text-mode file
├── UnreachableError       nothing answered within the patience given
│   └── OutcomeUnknownError  a submit whose answer was lost: repeat it with its idempotency_key
├── ApiError               the gateway said no: status, code, detail, errors, request_id
├── JobError               the job ended without a result: job, code, message
│   ├── JobFailed
│   ├── JobCanceled
│   └── JobExpired
├── WaitTimeoutError       wait(timeout_s=...) ran out; the job goes on
└── CorruptDownloadError   an output's bytes do not have the promised sha256
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.client.records import JobView


class LeveretError(Exception):
    """Anything this client raises on purpose."""


class ConfigError(LeveretError):
    """No gateway URL or API key was given, or one of them cannot be used."""


class InputError(LeveretError):
    """A value given to `submit` cannot be sent."""


class UnreachableError(LeveretError):
    """Nothing answered at the gateway's address within the patience given.

    Attributes:
        received: Whether the request, in any of its tries, may have arrived all the same.
    """

    status: int | None = None
    retry_after_s: float | None = None

    def __init__(self, message: str, *, received: bool = False) -> None:
        super().__init__(message)
        self.received = received


class OutcomeUnknownError(UnreachableError):
    """The request may or may not have been accepted: repeating it with `idempotency_key` is safe.

    Attributes:
        idempotency_key: The key every try carried; the gateway makes one job of them all.
    """

    def __init__(self, message: str, idempotency_key: str) -> None:
        super().__init__(message, received=True)
        self.idempotency_key = idempotency_key


class ApiError(LeveretError):
    """The gateway refused a request (RFC 9457 problem).

    Attributes:
        status: The HTTP status.
        code: The stable, documented code, `http_<status>` where a proxy answered instead of the gateway.
        detail: One sentence for a person.
        errors: Per-field problems of a 422, each with its `path` and `message`.
        request_id: What to quote when asking the operator.
        retry_after_s: Seconds the gateway asked to wait, where it said so.
        received: Whether an earlier try of the same request may have been accepted.
    """

    received = False

    def __init__(self, status: int, problem: Mapping[str, Any], retry_after_s: float | None = None) -> None:
        self.status = status
        self.code = str(problem.get("code") or f"http_{status}")
        self.detail = str(problem.get("detail") or problem.get("title") or f"HTTP status {status}")
        self.errors: Sequence[Mapping[str, Any]] = problem.get("errors") or ()
        self.request_id: str | None = problem.get("request_id")
        self.retry_after_s = retry_after_s
        super().__init__(f"{self.detail} ({self.code}, {status})")


class JobError(LeveretError):
    """The job ended without a result.

    Attributes:
        job: The job as it ended.
        code: The error's stable code, such as `worker_lost` or `invalid_input`.
        message: What went wrong, in the algorithm's or the worker's words.
    """

    def __init__(self, job: JobView) -> None:
        error = job.error or {}
        self.job = job
        self.code = str(error.get("code") or job.state)
        self.message = str(error.get("message") or error.get("detail") or f"the job was {job.state}")
        super().__init__(f"job {job.id} {job.state}: {self.message} ({self.code})")


class JobFailed(JobError):
    """The job ended `failed`."""


class JobCanceled(JobError):
    """The job was canceled before it had a result."""


class JobExpired(JobError):
    """The job was not started within its `start_timeout_s`."""


class WaitTimeoutError(LeveretError, TimeoutError):
    """`wait(timeout_s=...)` ran out. The job goes on; waiting again continues where this stopped."""


class CorruptDownloadError(LeveretError):
    """The bytes of an output do not have the sha256 its job promised."""
