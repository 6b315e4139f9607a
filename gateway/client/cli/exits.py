"""Exit codes, and the line and hint for each kind of failure."""

from __future__ import annotations

import json
import sys
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from gateway.client.errors import ApiError, ConfigError, InputError, JobError, LeveretError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Iterable

OK = 0
FAILED = 1
USAGE = 2
REFUSED = 3
UNREACHABLE = 4
INTERRUPTED = 130

_CODES: tuple[tuple[type[LeveretError], int], ...] = (
    (ConfigError, USAGE),
    (InputError, USAGE),
    (UnreachableError, UNREACHABLE),
    (ApiError, REFUSED),
    (JobError, FAILED),
)

_MISSING_HINTS = {
    "model": "`leveret models` lists the models",
    "worker": "`leveret workers` lists who is there",
    "queue": "`leveret queues` lists the queues",
}
_API_HINTS = {
    401: "check LEVERET_API_KEY; `make up` writes a working one to .leveret/env",
    403: "an operator's key is needed: python -m gateway.keys create --role operator …",
    404: "what belongs to another tenant looks missing too",
    413: "put the file into S3 and give its s3:// address instead",
    429: "wait as long as the answer says, or lower the rate",
    503: "`leveret doctor` names the part that is away",
}


class UsageError(InputError):
    """A command line that cannot be understood.

    Attributes:
        hint: Where to read on.
    """

    code = "usage"

    def __init__(self, message: str, command: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.hint = f"`{' '.join(['leveret', *command])} --help` shows what it takes"


def exit_code_of(error: LeveretError) -> int:
    """The documented exit code for a failure."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)


def report(error: LeveretError, *, as_json: bool) -> None:
    """Say on stderr what went wrong and what to do about it, without a traceback."""
    document = describe(error)
    if as_json:
        sys.stderr.write(json.dumps({"error": document}) + "\n")
        return
    lines = [f"leveret: {document['message']}"]
    # The sentence often names the fields already.
    lines += [f"  {each}" for each in document.get("fields", ()) if each not in document["message"]]
    if hint := document.get("hint"):
        lines.append(f"  hint: {hint}")
    sys.stderr.write(printable("\n".join(lines)) + "\n")


def describe(error: LeveretError) -> dict[str, Any]:
    """The failure as data: code, message, and where there is one a hint."""
    document: dict[str, Any] = {"code": _code_of(error), "message": str(error), "hint": _hint_for(error)}
    if isinstance(error, ApiError):
        document["request_id"] = error.request_id
        document["fields"] = [_field(each) for each in error.errors]
    return {name: value for name, value in document.items() if value}


def _code_of(error: LeveretError) -> str:
    known = getattr(error, "code", None)
    return str(known or type(error).__name__.removesuffix("Error").lower())


def _field(problem: object) -> str:
    if not isinstance(problem, dict):
        return str(problem)
    where = problem.get("path") or problem.get("field") or problem.get("loc") or "body"
    return f"{where}: {problem.get('message') or problem.get('detail') or problem.get('msg')}"


def _hint_for(error: LeveretError) -> str | None:
    if isinstance(error, UsageError):
        return error.hint
    if isinstance(error, ApiError):
        return _hint_for_refusal(error)
    if isinstance(error, UnreachableError):
        return "is the gateway running there? `leveret doctor` checks each part, `make up` starts a local one"
    if isinstance(error, JobError):
        return f"`leveret logs {error.job.id}` shows what the algorithm printed"
    return None


def _hint_for_refusal(error: ApiError) -> str | None:
    if error.status == HTTPStatus.NOT_FOUND:
        # One code for all that is missing: the sentence says what it is.
        for word, hint in _MISSING_HINTS.items():
            if word in error.detail:
                return hint
    return _API_HINTS.get(error.status)


def printable(text: str) -> str:
    """The text without the control characters with which foreign words could steer a terminal."""
    return "".join(each if each in "\n\t" or each.isprintable() else repr(each)[1:-1] for each in text)
