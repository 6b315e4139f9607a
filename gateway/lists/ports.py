"""What lists need from the store. Nothing here but signatures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol
from uuid import UUID

from shared.jobs import State
from shared.listing import Count, Filter, Page


class Rows(Protocol):
    """Reads lists of jobs."""

    async def page(self, wanted: Filter, *, before: UUID | None, limit: int) -> Page:
        """A page, newest first, of what has a lower id than `before`."""

    async def counts(self, wanted: Filter) -> Mapping[State, Count]:
        """By state."""

    async def row(self, tenant: str | None, job_id: UUID) -> Page:
        """A page of one job or none."""


class Run(Protocol):
    """One attempt of a job."""

    @property
    def attempt(self) -> int:
        """Its number."""

    @property
    def fence(self) -> int:
        """Unlike any other of this job."""

    @property
    def worker(self) -> str | None:
        """Who ran it."""

    @property
    def device(self) -> str | None:
        """On what."""

    @property
    def host(self) -> str | None:
        """On which machine."""

    @property
    def outcome(self) -> str:
        """``running``, or how it ended."""

    @property
    def started_at(self) -> datetime:
        """When it began."""

    @property
    def finished_at(self) -> datetime | None:
        """When it ended."""

    @property
    def error(self) -> Mapping[str, Any] | None:
        """With its traceback."""

    @property
    def timings(self) -> Mapping[str, float]:
        """Seconds by stage, and the size of its batch."""

    @property
    def log_bytes(self) -> int:
        """How much it printed."""

    @property
    def machine_s(self) -> float | None:
        """Its share of the machine's time, seconds."""

    @property
    def gpu_s(self) -> float | None:
        """The same of its GPUs."""

    @property
    def cost(self) -> Decimal | None:
        """Of both; None: not known."""


class Runs(Protocol):
    """Reads attempts."""

    async def runs(self, job_id: UUID) -> Sequence[Run]:
        """A job's, oldest first, the one under way included."""
