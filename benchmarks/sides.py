"""What the measurements need to know of a side: how to start it, what to send, when a job is done."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.load import Request


@dataclass(frozen=True, slots=True)
class Finished:
    """How far a set of jobs is.

    Attributes:
        count: Jobs that have succeeded.
        first: When the first of them ended, by the clock that wrote it down.
        last: When the last of them ended.
    """

    count: int
    first: datetime | None
    last: datetime | None


class Side(Protocol):
    """Leveret or its peer."""

    name: str
    url: str
    submit: Request
    """Queue a job, answer at once."""

    submit_and_wait: Request
    """Queue a job, answer with its result."""

    async def start(self) -> None:
        """Start the HTTP process and wait until it serves."""

    async def start_worker(self, slots: int) -> None:
        """Start the one worker."""

    async def stop_worker(self) -> None:
        """Let it end by itself."""

    def job_id(self, body: bytes) -> str:
        """The job's id in the answer to `submit`."""

    async def finished(self, job_ids: Sequence[str]) -> Finished:
        """Ask the store of results how far these jobs are."""

    async def await_result(self, job_id: str) -> None:
        """Return when this side's own push says that the job has succeeded."""

    async def fetch_value(self, body: bytes) -> None:
        """Get the value that an answer to `submit_and_wait` tells of, if it does not hold it itself."""

    def pids(self) -> Mapping[str, int]:
        """The processes whose memory is of interest, by what they are."""
