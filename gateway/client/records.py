"""What the gateway says about a job, read with names and types. Standard library only.

A record keeps the gateway's own JSON and reads from it, so that fields newer than this client are not lost.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from gateway.client.errors import JobCanceled, JobExpired, JobFailed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

State = Literal["waiting", "queued", "running", "succeeded", "failed", "canceled", "expired"]

TERMINAL_STATES = frozenset({"succeeded", "failed", "canceled", "expired"})

_STATE_AFTER: Mapping[str, State] = {
    "job.queued": "queued",
    "job.running": "running",
    "job.released": "queued",
    "job.retrying": "waiting",
    "job.succeeded": "succeeded",
    "job.failed": "failed",
    "job.canceled": "canceled",
    "job.expired": "expired",
}

_ENDINGS = {"failed": JobFailed, "canceled": JobCanceled, "expired": JobExpired}

# What an event's data may say about the job itself; anything else in it is about the event.
_JOB_FIELDS = frozenset(
    {"attempt", "error", "finished_at", "outputs", "progress", "receipt", "started_at", "timings"}
)


@dataclass(frozen=True, slots=True)
class Event:
    """One event of one job, as pushed.

    Attributes:
        seq: The job's cursor; rises with every state event, `job.progress` repeats the current one.
        job_id: Whose event it is.
        type: `job.queued`, `job.running`, `job.progress`, `job.succeeded`, and so on.
        at: When it happened, RFC 3339 in UTC, by the gateway's clock.
        data: What belongs to the type; of a terminal event the outputs or the error.
    """

    seq: int
    job_id: str
    type: str
    at: str
    data: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, envelope: Mapping[str, Any]) -> Event:
        """The event in a decoded envelope."""
        return cls(
            seq=int(envelope["seq"]),
            job_id=str(envelope["job_id"]),
            type=str(envelope["type"]),
            at=str(envelope.get("at") or ""),
            data=envelope.get("data") or {},
        )

    @property
    def state(self) -> State | None:
        """The state this event brought the job into; None for progress."""
        return _STATE_AFTER.get(self.type)

    @property
    def terminal(self) -> bool:
        """Whether nothing follows."""
        return self.state in TERMINAL_STATES

    @property
    def progress(self) -> float | None:
        """Between 0 and 1, where the event says so."""
        value = self.data.get("progress")
        return float(value) if isinstance(value, int | float) else None

    def is_news(self, cursor: int) -> bool:
        """Whether a reader that stands at `cursor` has not seen it yet."""
        return self.seq > cursor or (self.state is None and self.seq == cursor)

    def as_dict(self) -> dict[str, Any]:
        """The envelope again, for printing."""
        return asdict(self)


class JobView:
    """A job's fields with names and types, over JSON that a subclass keeps."""

    @property
    def raw(self) -> Mapping[str, Any]:
        """The job exactly as the gateway words it, as last heard."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.model} {self.state}>"

    @property
    def id(self) -> str:
        """The job's UUID."""
        return str(self.raw["id"])

    @property
    def model(self) -> str:
        """The algorithm's name."""
        return str(self.raw.get("model", ""))

    @property
    def state(self) -> State:
        """Where it stands."""
        state: State = self.raw.get("state", "queued")
        return state

    @property
    def done(self) -> bool:
        """Whether it ended, well or not."""
        return self.state in TERMINAL_STATES

    @property
    def progress(self) -> float | None:
        """Between 0 and 1, where the algorithm reports it."""
        value = self.raw.get("progress")
        return None if value is None else float(value)

    @property
    def error(self) -> Mapping[str, Any] | None:
        """Code, message and traceback of a job that failed."""
        return self.raw.get("error")

    @property
    def timings(self) -> Mapping[str, float]:
        """Seconds spent in each stage, by name."""
        return self.raw.get("timings") or {}

    @property
    def receipt(self) -> Mapping[str, Any] | None:
        """What its attempts used and cost so far; None before the first one ended."""
        return self.raw.get("receipt")

    def ensure_succeeded(self) -> Self:
        """This job, if it succeeded; while it runs nothing is said against it.

        Raises:
            JobFailed: It failed.
            JobCanceled: It was canceled.
            JobExpired: It was not started in time.
        """
        if ending := _ENDINGS.get(self.state):
            raise ending(self)
        return self


class JobRecord(JobView):
    """A job as last heard, by answer or by event.

    Attributes:
        seq: The cursor: the last state event this record includes.
    """

    def __init__(self, raw: Mapping[str, Any], seq: int = 0) -> None:
        self._raw = dict(raw)
        self.seq = seq

    @property
    def raw(self) -> Mapping[str, Any]:
        """The job exactly as the gateway words it, as last heard."""
        return self._raw

    def apply(self, event: Event) -> None:
        """Take over what an event says; what ended stays ended, also while its history is told again."""
        if self.done and not event.terminal:
            return
        self.seq = max(self.seq, event.seq)
        self._raw.update({name: event.data[name] for name in _JOB_FIELDS & event.data.keys()})
        if event.state is not None:
            self._raw.update(state=event.state, done=event.terminal)

    def replace(self, raw: Mapping[str, Any]) -> None:
        """Take over a newer answer of the gateway."""
        self._raw = dict(raw)
