"""What the API answers, for its description only: answers are written as they come, these say their shape."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

_JOB_ID = "019826a1-7c1e-7d2b-9a55-3f0c8c1f2b6e"
_STATES = Literal["waiting", "queued", "running", "succeeded", "failed", "canceled", "expired"]
_EVENT_TYPES = Literal[
    "job.queued",
    "job.running",
    "job.progress",
    "job.released",
    "job.retrying",
    "job.succeeded",
    "job.failed",
    "job.canceled",
    "job.expired",
]


class _View(BaseModel):
    model_config = ConfigDict(extra="forbid")


class OutputView(_View):
    """One output of a job."""

    uri: str = Field(examples=["s3://leveret/default/0198…/1/cutout.png"])
    url: str = Field(description="Where it can be read; signed anew at each answer")
    content_type: str
    size: int = Field(description="Bytes")
    sha256: str
    metadata: dict[str, Any] = {}


class JobErrorView(BaseModel):
    """Why a job failed."""

    model_config = ConfigDict(extra="allow")

    code: str = Field(examples=["algorithm_error"])
    message: str


Money = Annotated[str, Field(examples=["0.0041"], pattern=r"^-?\d+(\.\d+)?$")]
"""Decimal digits: a number of JSON would not keep them."""


class ReceiptView(_View):
    """What a job's attempts that have ended used and cost. What is not known is null, never 0."""

    attempts: int
    machine_s: float | None = Field(description="Its share of its machines' time: 1 / slots of each run")
    gpu_s: float | None = Field(description="The same of their GPUs; 0 on the CPU")
    cost: Money | None
    currency: str = Field(examples=["USD"])
    wasted_attempts: int = Field(description="Of the attempts, those retried, given back or lost")
    wasted_s: float | None = Field(description="Their share of `machine_s`")
    wasted_cost: Money | None = Field(description="Their share of `cost`")
    worker: str = Field(description="Of the last attempt")
    device: str | None = Field(examples=["cuda"])


class TraceView(_View):
    """The trace that a job belongs to."""

    id: str = Field(pattern="^[0-9a-f]{32}$")
    recorded: bool = Field(description="Whether its spans are kept: its sender decides, or the sampling")


class UrlsView(_View):
    """Where a job's things are."""

    self: str
    events: str
    stream: str
    cancel: str
    logs: str
    trace: str | None = Field(
        default=None,
        description="Where its trace is shown: where it is recorded and `LEVERET_GATEWAY_TRACE_URL` is set",
    )


class JobView(_View):
    """A job."""

    id: str = Field(examples=[_JOB_ID])
    model: str = Field(examples=["cutout"])
    model_version: str = Field(examples=["1"])
    queue: str = Field(examples=["images"])
    state: _STATES
    done: bool = Field(description="Whether the state is one of the last four, which are never left")
    seq: int = Field(description="`seq` of the job's latest event: the cursor of its streams")
    cancel_requested: bool
    priority: int
    attempt: int = Field(description="Attempts started so far")
    max_attempts: int
    retry_of: str | None
    queue_position: int | None
    queue_reason: str | None = Field(
        description="Why it waits: backlog, no_worker, worker_starting, scheduled, paused; in_worker: its "
        "worker has it, and no engine there has begun with it"
    )
    estimated_start_at: AwareDatetime | None
    inputs: dict[str, Any]
    params: dict[str, Any]
    metadata: dict[str, Any]
    outputs: dict[str, OutputView]
    error: JobErrorView | None
    progress: float = Field(description="0 to 1, where the algorithm reports it")
    created_at: AwareDatetime
    run_at: AwareDatetime | None
    queued_at: AwareDatetime | None
    started_at: AwareDatetime | None
    finished_at: AwareDatetime | None
    timings: dict[str, float] = Field(description="Seconds per stage")
    receipt: ReceiptView | None = Field(description="Null before its first attempt has ended")
    trace: TraceView | None = Field(default=None, description="Null where nobody traces")
    urls: UrlsView


class EventView(_View):
    """Something that happened to a job."""

    seq: int
    job_id: str = Field(examples=[_JOB_ID])
    type: _EVENT_TYPES
    at: AwareDatetime
    data: dict[str, Any] = Field(description="Of a terminal event the outputs or the error")


class EventsView(_View):
    """A job's history."""

    events: list[EventView]


class AttemptView(_View):
    """One run of a job that has ended."""

    attempt: int
    worker: str
    outcome: str
    started_at: AwareDatetime
    finished_at: AwareDatetime
    error: JobErrorView | None
    timings: dict[str, float]
    device: str | None
    machine_s: float | None = Field(description="Its share of the machine's time; null: not known")
    gpu_s: float | None
    cost: Money | None
    log: str = Field(description="The last 64 KiB that the algorithm printed")


class LogsView(_View):
    """What a job's algorithm printed, per attempt."""

    attempts: list[AttemptView]


class ModelView(BaseModel):
    """What a model takes and gives."""

    model_config = ConfigDict(extra="allow")

    name: str
    version: str
    description: str
    queue: str
    timeout_s: float
    max_attempts: int
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    params: dict[str, Any] = Field(description="A JSON Schema")


class ModelsView(_View):
    """The catalog."""

    models: list[ModelView]


class UploadView(_View):
    """Where to put a file."""

    upload_id: str
    method: Literal["PUT"]
    url: str
    headers: dict[str, str] = Field(description="To be sent with the bytes, exactly")


class FieldProblem(_View):
    """One field that is wrong."""

    path: str = Field(examples=["inputs.image"])
    message: str


class ProblemView(_View):
    """Any error (RFC 9457)."""

    type: str = Field(description="Where the code is explained")
    title: str
    status: int
    detail: str
    code: str = Field(description="Stable: compare this")
    request_id: str
    errors: list[FieldProblem] | None = None
