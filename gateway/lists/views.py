"""The shapes of lists, for the description only: answers are written as they come."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from gateway.views import Money

States = Literal["waiting", "queued", "running", "succeeded", "failed", "canceled", "expired"]


class _View(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CauseView(_View):
    """Why a job failed, or why its last attempt did."""

    code: str = Field(examples=["algorithm_error"])
    message: str = Field(description="Its first 200 characters")


class RowView(_View):
    """A job in a list: nothing of what it carries."""

    id: str
    tenant: str
    model: str
    model_version: str
    queue: str
    state: States
    priority: int
    attempt: int = Field(description="Attempts started so far")
    max_attempts: int
    worker: str | None = Field(description="Who runs it, or ran it last")
    error: CauseView | None
    fingerprint: str | None = Field(description="Alike for failures that differ in numbers and names only")
    queue_reason: str | None = Field(description="Why it waits, as the job itself tells it")
    queue_position: int | None = Field(description="Null in lists: the job itself tells it")
    cancel_requested: bool
    progress: float
    created_at: AwareDatetime
    run_at: AwareDatetime | None
    queued_at: AwareDatetime | None
    started_at: AwareDatetime | None
    finished_at: AwareDatetime | None
    retry_of: str | None
    seq: int
    age_s: float = Field(description="Since it was submitted")
    wait_s: float | None = Field(description="In the queue before its latest start, or so far")
    run_s: float | None = Field(description="Of its latest attempt, so far while it runs")


class PageView(_View):
    """A page of jobs, newest first."""

    jobs: list[RowView]
    next_cursor: str | None = Field(description="The `cursor` of the next page; null on the last")
    searched_to: AwareDatetime | None = Field(
        description="Set where the filter is so rare that the look ended before the page was full: there "
        "may be more, from before this moment"
    )
    server_time: AwareDatetime


class CountView(_View):
    """How many, at least."""

    n: int
    more: bool = Field(description="Counting ended here: it may be more")


class CountsView(_View):
    """By state."""

    counts: dict[States, CountView]
    server_time: AwareDatetime


class FullErrorView(BaseModel):
    """How an attempt failed."""

    model_config = ConfigDict(extra="allow")

    code: str
    message: str


class RunView(_View):
    """One attempt, ended or not."""

    attempt: int
    fence: int
    worker: str | None
    device: str | None = Field(description="Null where the worker is forgotten")
    host: str | None
    outcome: str = Field(
        description="running, succeeded, failed, canceled, released, worker_lost; waiting: it failed and "
        "there is to be another"
    )
    started_at: AwareDatetime
    finished_at: AwareDatetime | None
    run_s: float
    timings: dict[str, float] = Field(description="Seconds per stage")
    batch_size: int | None = Field(description="Jobs that were computed together")
    error: FullErrorView | None = Field(description="With the traceback, where there is one")
    log_bytes: int = Field(description="How much `GET /v1/jobs/{job_id}/logs` has of it")
    machine_s: float | None = Field(description="Its share of the machine's time; null: not known")
    gpu_s: float | None
    cost: Money | None = Field(description="In the deployment's currency; null: no price is known")


class AttemptsView(_View):
    """A job and its attempts, oldest first."""

    job: RowView
    attempts: list[RunView]
    server_time: AwareDatetime


class EntryView(_View):
    """Something that somebody did."""

    id: int
    at: AwareDatetime
    by: str = Field(description="The key, as tenant/name", examples=["acme/laptop"])
    action: str = Field(examples=["worker.drain"])
    target: str
    count: int | None = Field(description="To how many jobs")
    detail: dict[str, Any]


class AuditView(_View):
    """A page of the audit, newest first."""

    entries: list[EntryView]
    next_cursor: str | None


class NamedCountView(_View):
    """How many are of this name."""

    name: str
    count: int


class GroupView(_View):
    """Failures that differ in numbers, ids and paths only."""

    fingerprint: str
    code: str
    type: str = Field(description="The exception's class; empty where there is none")
    message: str = Field(description="Of the newest, its first 500 characters")
    count: int
    retried: int = Field(description="Of these, those that another job names in `retry_of`")
    open: int = Field(description="The others; a bulk retry of the group takes only such")
    first_at: AwareDatetime = Field(description="The first ever, before this window too")
    last_at: AwareDatetime
    points: list[int] = Field(description="By time, oldest first, each of `bucket_s`")
    models: list[NamedCountView]
    workers: list[NamedCountView]
    queues: list[NamedCountView]
    sample_job: str = Field(description="The newest")
    open_job: str | None = Field(description="The newest that was not retried; null where all were")


class _WindowView(_View):
    since: AwareDatetime
    bucket_s: float
    server_time: AwareDatetime


class FailuresView(_WindowView):
    """What failed in a window."""

    groups: list[GroupView]
    more: bool = Field(description="There are more failures, or groups, than were looked at")


class GroupFilterView(_View):
    """The filter of a list or a bulk action that finds the group."""

    fingerprint: str
    state: list[States]


class FailureGroupView(GroupView, _WindowView):
    """One group, more closely."""

    traceback: str = Field(description="Of `sample_job`'s last attempt; empty where there is none")
    attempt: int | None
    jobs: list[RowView] = Field(description="The newest submitted")
    filter: GroupFilterView


class BulkView(_View):
    """An action on many jobs."""

    id: str
    action: Literal["retry", "cancel", "prioritise"]
    filter: dict[str, Any] = Field(description="As it was said, with the states that are meant")
    priority: int | None
    count: int = Field(description="Jobs, settled when it was made")
    left_out: int = Field(description="Jobs that fit as well, and were retried before")
    state: Literal["draft", "running", "done", "aborted", "failed"]
    done: int
    skipped: int = Field(description="Had changed meanwhile: had ended, had started")
    failed: int = Field(description="Were refused: their model is not offered any more, say")
    confirm_needed: bool
    confirm_word: str | None = Field(description="What `confirm` has to say")
    consequence: str = Field(description="What it does, in a sentence")
    created_by: str
    created_at: AwareDatetime
    started_at: AwareDatetime | None
    finished_at: AwareDatetime | None
    error: str | None = Field(description="Why it is `failed`; the gateway's log says more")


class BulkPageView(_View):
    """A page of actions, newest first."""

    actions: list[BulkView]
    next_cursor: str | None


class PercentilesView(_View):
    """Seconds, of `n` attempts."""

    n: int
    p50: float | None
    p95: float | None
    p99: float | None = Field(description="Null below 100 of them")


class EndedView(_View):
    """Attempts by how they ended, and jobs that expired."""

    succeeded: int
    failed: int = Field(description="And their job with them")
    retried: int = Field(description="Failed, and were repeated: an engine or a worker died, or `Retry`")
    canceled: int
    expired: int


class CodeView(_View):
    """How often something failed so."""

    code: str
    count: int


class StatisticsView(_View):
    """How one model did."""

    name: str
    window_s: float
    n: int = Field(description="Attempts in the sample")
    more: bool = Field(
        description="The window held more than the newest 10,000, of all models, that are the sample"
    )
    wait: PercentilesView = Field(description="In the queue")
    load: PercentilesView = Field(
        description="Loading the model into an engine, as the workers tell; `n` of loads, whoever's"
    )
    run: PercentilesView = Field(description="The whole attempt")
    ended: EndedView
    errors: list[CodeView] = Field(description="Of attempts that failed, retried ones too")
    error_rate: float | None = Field(
        description="Of attempts that succeeded, failed or were retried, the last two; null: none"
    )
    cold_starts: int | None = Field(
        description="Loads of the model: a worker's at its start, an engine's anew after it was replaced, or "
        "an attempt's that needed it; null where none is on record, which each is for eight days"
    )
    batch_size_p50: float | None
    memory: int | None = Field(
        description="Bytes that an engine's process grew by with it, or its weights where those are more, by "
        "its newest load on record; null: not known"
    )


class AllStatisticsView(_View):
    """Of every model."""

    models: list[StatisticsView]
    server_time: AwareDatetime
