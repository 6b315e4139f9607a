"""What a caller may say, field by field. Unknown fields are refused; nothing is converted on the quiet."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator

from shared.jobs import DEFAULT_PRIORITY, MAX_PRIORITY

MAX_JSON_BYTES = 1024 * 1024
"""A JSON body, and the `options` of a multipart one: anything larger is bytes, and bytes go by upload."""
MAX_METADATA_BYTES = 8 * 1024
MAX_DATA_BYTES = 64 * 1024
MAX_URI = 4096
"""A signed address with a session's token has more than 2,000 characters."""
MAX_NAMES = 64
MAX_DELAY_S = 366 * 86400
MAX_TIMEOUT_S = 7 * 86400
MAX_ATTEMPTS = 20
MAX_INTEGER = 2**63 - 1
MAX_WORKERS = 10_000
MAX_KEY_S = 10 * 366 * 86400

MEDIA_TYPE = r"^[A-Za-z0-9_.+-]+/[A-Za-z0-9_.+-]+( *; *[A-Za-z0-9_.+-]+=[A-Za-z0-9_.+\"-]+)*$"
"""It goes into the headers of requests and answers as it is."""
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d", re.ASCII)

Refused = tuple[str, str]
"""A field path and what is wrong with it."""


def _spelled(value: object) -> object:
    """A number is no moment: whoever sends one means something else by it than we would guess."""
    if isinstance(value, datetime) or (isinstance(value, str) and _MOMENT.match(value)):
        return value
    raise ValueError("must be a moment as of RFC 3339, with its offset")


Moment = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_spelled)]
"""As callers say it."""


class _Said(BaseModel):
    """Something a caller says."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class GivenInput(_Said):
    """One input: exactly one of `uri`, `upload_id`, `data`, `json`."""

    uri: str | None = Field(
        default=None,
        max_length=MAX_URI,
        description="`s3://bucket/key` under a prefix allowed to the tenant, or a public `https://` address, "
        "which a worker reads when the job runs",
        examples=["s3://my-bucket/faces/1.jpg", "https://files.example.org/1.jpg"],
    )
    upload_id: str | None = Field(
        default=None, max_length=64, description="What `POST /v1/uploads` gave, once the bytes are there"
    )
    data: str | None = Field(
        default=None,
        max_length=MAX_DATA_BYTES * 4 // 3 + 4,
        description="At most 64 KiB as base64",
    )
    content_type: str | None = Field(
        default=None, max_length=255, pattern=MEDIA_TYPE, description="Of `data`", examples=["image/png"]
    )
    value: JsonValue = Field(default=None, alias="json", description="Any JSON value")

    @model_validator(mode="after")
    def _exactly_one(self) -> GivenInput:
        said = self.model_fields_set - {"content_type"}
        if len(said) != 1 or (self.source != "json" and getattr(self, self.source) is None):
            raise ValueError("say exactly one of uri, upload_id, data, json")
        if self.content_type is not None and self.data is None:
            raise ValueError("content_type goes with data only")
        return self

    @property
    def source(self) -> str:
        """Which one it is."""
        return next(iter(self.model_fields_set - {"content_type"})).replace("value", "json")


class Destination(_Said):
    """Where an output is to be written."""

    uri: str = Field(max_length=2048, examples=["s3://my-bucket/results/1.png"])


class Options(_Said):
    """All of a job but its model: the `options` of a multipart submit."""

    inputs: dict[str, GivenInput] = Field(default={}, max_length=MAX_NAMES)
    params: dict[str, JsonValue] = Field(default={}, max_length=1000)
    priority: Annotated[int, Field(ge=0, le=MAX_PRIORITY, description="10 starts first; 5 by default")] = (
        DEFAULT_PRIORITY
    )
    run_at: Moment | None = Field(default=None, description="Not before this moment (RFC 3339)")
    delay_s: float | None = Field(
        default=None, ge=0, le=MAX_DELAY_S, description="Not before so many seconds"
    )
    start_timeout_s: float | None = Field(
        default=None, gt=0, le=MAX_DELAY_S, description="Expires unless started by then"
    )
    timeout_s: float | None = Field(
        default=None, gt=0, le=MAX_TIMEOUT_S, description="Hard limit of one attempt, at most the model's own"
    )
    max_attempts: int | None = Field(default=None, ge=1, le=MAX_ATTEMPTS)
    metadata: dict[str, JsonValue] = Field(default={}, description="Yours, at most 8 KiB as JSON")
    outputs: dict[str, Destination] = Field(
        default={},
        max_length=MAX_NAMES,
        description="Outputs to write elsewhere than to Leveret's own bucket",
    )

    @model_validator(mode="after")
    def _one_start(self) -> Options:
        if self.run_at is not None and self.delay_s is not None:
            raise ValueError("say run_at or delay_s, not both")
        return self


class Submission(Options):
    """A job to run."""

    model: str = Field(
        min_length=1, max_length=130, description="`name` or `name@version`", examples=["cutout"]
    )


class UploadRequest(_Said):
    """A file to come."""

    content_type: str = Field(
        default="application/octet-stream",
        max_length=127,
        pattern=r"^[A-Za-z0-9_.+-]+/[A-Za-z0-9_.+*-]+$",
    )


class Login(_Said):
    """Who logs in."""

    key: str = Field(min_length=1, max_length=200, description="An API key")


def _whole(value: object) -> object:
    """2.0 is the same number as 2 in JSON."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class NewKey(_Said):
    """A key to make."""

    name: str = Field(min_length=1, max_length=100, description="To tell keys apart")
    role: Literal["user", "operator"] = "user"
    tenant: str | None = Field(
        default=None, pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="Made if it is new; yours by default"
    )
    expires_in_s: Annotated[int, Field(ge=1, le=MAX_KEY_S), BeforeValidator(_whole)] | None = Field(
        default=None, description="Seconds until it ends by itself; null: never"
    )


class Followed(BaseModel):
    """A job to follow."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    id: UUID
    after: int = Field(default=0, ge=0, le=2**31 - 1)


class Subscription(BaseModel):
    """What a socket of many jobs is asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    subscribe: Annotated[list[Followed], Field(max_length=1000)] | Literal["all"] = []
    unsubscribe: list[UUID] = Field(default=[], max_length=1000)


class LiveWish(BaseModel):
    """What a page of the dashboard shows; each message replaces the one before."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    subscribe: list[Literal["overview", "jobs", "queues", "workers", "scaler"]] = Field(max_length=5)
    ids: list[UUID] = Field(default=[], max_length=200)
    newest: UUID | None = None
    scope: Literal["tenant", "all"] = "tenant"


Workers = Annotated[int, Field(ge=0, le=MAX_WORKERS), BeforeValidator(_whole)]


def _without_default(schema: dict[str, Any]) -> None:
    """What is left out stays as it is, whatever that is."""
    schema.pop("default", None)


class FleetLimits(_Said):
    """What to set of a fleet: a field that is left out stays as it is."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    min: Workers | None = Field(
        default=None,
        description="Workers at least; null gives back to the scaler's settings",
        json_schema_extra=_without_default,
    )
    max: Workers | None = Field(
        default=None,
        description="Workers at most; null gives back to the scaler's settings",
        json_schema_extra=_without_default,
    )
    paused: bool = Field(
        default=False, description="Start nothing, send nobody away", json_schema_extra=_without_default
    )

    @model_validator(mode="after")
    def _something(self) -> FleetLimits:
        if not self.model_fields_set:
            raise ValueError("say at least one of min, max, paused")
        return self


def unstorable(value: Any, path: str = "") -> Iterator[Refused]:
    """What PostgreSQL's JSON cannot hold: NUL bytes, lone surrogates, numbers that are none or too large."""
    match value:
        case dict():
            for name, item in value.items():
                yield from _unstorable_entry(name, item, path)
        case list():
            for number, item in enumerate(value):
                yield from unstorable(item, f"{path}.{number}")
        case _:
            yield from ((path, problem) for problem in _scalar_problems(value))


def _unstorable_entry(name: str, item: Any, path: str) -> Iterator[Refused]:
    wrong = [(path or "body", f"a name in it {problem}") for problem in _text_problems(name)]
    yield from wrong or unstorable(item, f"{path}.{name}" if path else name)


def _scalar_problems(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from _text_problems(value)
    elif isinstance(value, float) and not math.isfinite(value):
        yield "must be a finite number"
    elif isinstance(value, int) and abs(value) > MAX_INTEGER:
        yield "must have at most 64 bits"


def _text_problems(text: str) -> Iterator[str]:
    if "\x00" in text:
        yield "must not contain a NUL byte"
    try:
        text.encode()
    except UnicodeEncodeError:
        yield "is not valid Unicode"
