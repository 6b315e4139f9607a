"""What the accounts need from the store. Nothing here but signatures."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Literal, Protocol


class Spent(Protocol):
    """Time of one queue's machines, and what it cost."""

    @property
    def key(self) -> str:
        """By what it was summed."""

    @property
    def queue(self) -> str:
        """Whose machines."""

    @property
    def machine_s(self) -> float:
        """For how long."""

    @property
    def cost(self) -> Decimal:
        """Of what has a price."""

    @property
    def unpriced_s(self) -> float:
        """Of `machine_s`, what has none."""


class Paid(Spent, Protocol):
    """From the machines' launch to their end; by day where days were asked for, else by queue."""


class Used(Spent, Protocol):
    """The attempts' shares of it; by tenant, model, queue, day or job."""

    @property
    def jobs(self) -> int:
        """Whose first attempt ended then."""

    @property
    def attempts(self) -> int:
        """That ended then."""

    @property
    def gpu_s(self) -> float:
        """Their shares of the GPUs' time."""

    @property
    def wasted_attempts(self) -> int:
        """Of them, those that were retried, given back or lost."""

    @property
    def wasted_s(self) -> float:
        """Their part of `machine_s`."""

    @property
    def wasted_cost(self) -> Decimal:
        """Their part of `cost`."""


By = Literal["tenant", "model", "queue", "day"]


class Usage(Protocol):
    """Who used the machines, and for how long they were paid. All raise Unavailable."""

    async def book(self) -> bool:
        """Book attempts that ended; True where there may be more. Raises OutcomeUnknown."""

    async def used(self, since: datetime, until: datetime, by: By, tenant: str | None) -> Sequence[Used]:
        """By key and queue, within whole hours."""

    async def paid(self, since: datetime, until: datetime, by: By) -> Sequence[Paid]:
        """By queue, or by queue and day."""

    async def dearest(
        self, since: datetime, until: datetime, limit: int, tenant: str | None
    ) -> tuple[Sequence[Used], bool]:
        """The jobs that cost most, and whether others were not looked at."""
