"""The one error tree. Pure: imports nothing but the standard library.

LeveretError
├── InputError                  the caller's fault; never retried, with one exception
│   ├── InvalidJob              a submission that does not fit the catalog
│   ├── BadInput                bytes that are not what the model takes
│   ├── InputUnavailable        an input that is not there, or not this tenant's to read
│   │   └── InputDelayed        a server outside did not send it this time: the exception
│   └── IdempotencyConflict     one key, two different bodies
├── NotFound                    no such thing for this tenant
├── JobEnded                    a terminal job cannot be changed
├── AlgorithmError              the algorithm raised
│   ├── AlgorithmRetry          the algorithm asked for another try
│   └── InvalidOutput           it returned what its model.toml does not declare
├── EngineDied                  the process that ran it ended
├── JobTimedOut                 the hard time limit passed
├── JobCanceled                 somebody asked for the end of it
├── ModelUnavailable            this worker does not know the model
│   └── LoadOverdue             its load ran out of time here, so it is refused for a while
├── DeviceError                 the GPU is missing or failed
├── StoreError                  S3 did not answer as it should
├── Unstorable                  PostgreSQL refuses a value as data; it will refuse it every time
├── Unavailable                 a server the call needs is away; nothing happened
├── OutcomeUnknown              the answer was lost; repeat with the same Idempotency-Key
└── Misconfigured               a start-up that must not go on

Each leaf has a stable ``code`` (documented, part of the API) and says whether trying again can help.
"""

from __future__ import annotations

from typing import ClassVar


class LeveretError(Exception):
    """The root: ``str(error)`` is the sentence a person reads."""

    code: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = False


class InputError(LeveretError):
    """The caller's fault: the same request will fail again."""

    code = "invalid_input"


class InvalidJob(InputError):
    """A submission that does not fit the catalog.

    Attributes:
        problems: Pairs of a field path (``inputs.image``) and what is wrong with it.
    """

    code = "invalid_job"

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{field}: {problem}" for field, problem in problems))
        self.problems = problems


class BadInput(InputError):
    """The bytes of an input are not what the model takes (a truncated image, say)."""

    code = "bad_input"


class InputUnavailable(InputError):
    """An input that does not exist, or that this tenant may not read."""

    code = "input_unavailable"


class InputDelayed(InputUnavailable):
    """The server that an input was to come from did not send it this time; it may the next time."""

    retryable = True


class IdempotencyConflict(InputError):
    """The Idempotency-Key was used before with another body."""

    code = "idempotency_conflict"


class NotFound(LeveretError):
    """There is no such thing, or it is another tenant's: the two look alike on purpose."""

    code = "not_found"


class JobEnded(LeveretError):
    """The job is in a terminal state, which it never leaves."""

    code = "job_ended"


class AlgorithmError(LeveretError):
    """The algorithm raised.

    Attributes:
        exception: The exception's class name, as the model's ``retry_on`` lists it.
        traceback: The algorithm's own frames, trimmed, as text.
    """

    code = "algorithm_error"

    def __init__(self, message: str, *, exception: str = "", traceback: str = "") -> None:
        super().__init__(message)
        self.exception = exception
        self.traceback = traceback


class AlgorithmRetry(AlgorithmError):
    """The algorithm asked for another try.

    Attributes:
        after_s: Seconds to wait before it, or None for the ordinary backoff.
    """

    code = "algorithm_retry"
    retryable = True

    def __init__(self, message: str, *, after_s: float | None = None) -> None:
        super().__init__(message, exception="Retry")
        self.after_s = after_s


class InvalidOutput(AlgorithmError):
    """The algorithm returned something other than its model.toml declares."""

    code = "invalid_output"


class EngineDied(LeveretError):
    """The process that ran the algorithm ended: out of memory, a segfault, ``os._exit``.

    Attributes:
        inside: The job may have caused it: it was at work in the process, and the end had no other reason.
    """

    code = "worker_lost"
    retryable = True

    def __init__(self, message: str, *, inside: bool = True) -> None:
        super().__init__(message)
        self.inside = inside


class JobTimedOut(LeveretError):
    """The job ran longer than its ``timeout_s``."""

    code = "timeout"


class JobCanceled(LeveretError):
    """Somebody asked for the end of the job, and its run was ended."""

    code = "canceled"


class ModelUnavailable(LeveretError):
    """No worker of the queue knows the model (a rolling deploy, or a folder that is missing)."""

    code = "model_unavailable"
    retryable = True


class LoadOverdue(ModelUnavailable):
    """Its load (import, ``load``, ``warm_up``) ran out of time here, so it is refused for a while."""


class DeviceError(LeveretError):
    """The device is missing, out of memory or failed. Never replaced by the CPU behind anybody's back."""

    code = "device_error"
    retryable = True


class DeviceMissing(DeviceError):
    """There is no such device here: every job would fail."""


class StoreError(LeveretError):
    """The object store did not answer as it should."""

    code = "store_error"
    retryable = True


class Unstorable(LeveretError):
    """PostgreSQL refuses a value as data: trying again cannot help."""

    code = "internal_error"


class Unavailable(LeveretError):
    """A server that the call needs is away; nothing was accepted or changed.

    Attributes:
        refused: It is there, and said no to this one call (a deadlock, say): the next one may fare better.
    """

    code = "unavailable"
    retryable = True

    def __init__(self, message: str = "", *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class OutcomeUnknown(LeveretError):
    """The answer to a commit was lost: it may or may not have happened."""

    code = "outcome_unknown"
    retryable = True


class Misconfigured(LeveretError):
    """The process must not start, or a queue must not be used, as things are configured."""

    code = "misconfigured"
