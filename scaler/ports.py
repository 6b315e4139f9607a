"""What the scaler needs from the outside, each port as small as its use. Nothing here but signatures."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from scaler.looks import Look
from scaler.snapshot import Machine


class BacklogRow(Protocol):
    """The live jobs of one queue and priority."""

    @property
    def queue(self) -> str:
        """The catalog's name of the queue."""

    @property
    def priority(self) -> int:
        """0 … 10."""

    @property
    def waiting(self) -> int:
        """Queued jobs."""

    @property
    def running(self) -> int:
        """Running jobs."""

    @property
    def oldest_s(self) -> float:
        """Age of the one queued longest, seconds; 0 where none is queued."""

    @property
    def newest_s(self) -> float:
        """The same of the one queued last."""


class WorkerRow(Protocol):
    """A worker's record; all ages in seconds."""

    @property
    def id(self) -> str:
        """The worker's."""

    @property
    def queue(self) -> str:
        """What it serves."""

    @property
    def state(self) -> str:
        """``starting``, ``ready``, ``draining`` or ``gone``."""

    @property
    def slots(self) -> int:
        """Jobs in hand at most."""

    @property
    def busy(self) -> int:
        """Jobs in hand."""

    @property
    def drain(self) -> bool:
        """It was asked to drain."""

    @property
    def since_s(self) -> float:
        """In this state for so long."""

    @property
    def idle_s(self) -> float | None:
        """Without a job for so long; None while it is busy."""

    @property
    def heartbeat_s(self) -> float:
        """Last heard of so long ago."""


class ServedRow(Protocol):
    """The attempts of one queue that ended lately."""

    @property
    def queue(self) -> str:
        """The catalog's name of the queue."""

    @property
    def jobs(self) -> int:
        """How many."""

    @property
    def mean_s(self) -> float:
        """For how long they held a slot, on average."""

    @property
    def until(self) -> datetime:
        """When the last one ended, by the database's clock."""


class QueueDepth(Protocol):
    """What the broker itself counts."""

    @property
    def ready(self) -> int:
        """Messages that no consumer holds."""

    @property
    def consumers(self) -> int:
        """Consumers attached."""


class Fleet(Protocol):
    """Where machines come from. Every method raises Unavailable when it can't be asked."""

    async def machines(self) -> Sequence[Machine]:
        """Its machines, with those that ended within some minutes."""
        ...

    async def launch(self, count: int, *, token: str) -> Sequence[str]:
        """Start machines and return their ids; the same token starts them once.

        Fewer than asked for come where there is a shortage, which is no error. Raises OutcomeUnknown when the
        answer was lost: the same token finds out.
        """
        ...

    async def terminate(self, ids: Sequence[str]) -> None:
        """End machines whose worker is gone; ids that ended already are no error."""
        ...

    def alarms(self) -> Sequence[str]:
        """What somebody should look at, in words that stay the same while it lasts."""
        ...


class LastLaunch(Protocol):
    """The launch that was written down last."""

    @property
    def token(self) -> str:
        """It was asked for with this one."""

    @property
    def count(self) -> int:
        """Machines asked for."""

    @property
    def age_s(self) -> float:
        """Written down so long ago."""


class Rows(Protocol):
    """The truth about jobs and workers."""

    async def backlog(self) -> Sequence[BacklogRow]:
        """Live jobs by queue and priority."""
        ...

    async def workers(self) -> Sequence[WorkerRow]:
        """The workers' records."""
        ...

    async def served(self, since: datetime | None) -> Sequence[ServedRow]:
        """What ended after `since`, or within the hour, by queue."""
        ...


class Depths(Protocol):
    """The broker's own figures."""

    async def depth(self, queue: str) -> QueueDepth:
        """Ready messages and consumers of a queue."""
        ...


class Ledger(Protocol):
    """Where decisions are written down and workers are asked to drain."""

    async def last_decision(self, fleet: str) -> int:
        """The number of the latest decision."""
        ...

    async def last_launch(self, fleet: str) -> LastLaunch | None:
        """The latest decision that launched, whoever made it; None where there is none within the hour."""
        ...

    async def record(
        self,
        fleet: str,
        *,
        want: int | None,
        have: int,
        reason: str,
        snapshot: Mapping[str, Any],
        actions: Mapping[str, Any],
    ) -> int:
        """Write a decision down; returns its number."""
        ...

    async def drain(self, ids: Sequence[str]) -> Sequence[str]:
        """Ask idle workers to drain; returns those that were asked."""
        ...

    async def bury(self, ids: Sequence[str]) -> Sequence[str]:
        """Close the rows of workers whose machine ended; returns those that were open."""
        ...

    async def meter(self, queue: str, machines: Sequence[Machine]) -> None:
        """Write down for how long each machine has been paid, at which price."""
        ...

    async def see(self, queue: str, look: Look) -> None:
        """Write down how many are wanted and there."""
        ...


class Override(Protocol):
    """What an operator set of one fleet."""

    @property
    def min(self) -> int | None:
        """Workers at least; None: as the settings have it."""

    @property
    def max(self) -> int | None:
        """Workers at most, likewise."""

    @property
    def paused(self) -> bool:
        """Nothing is to be changed."""

    @property
    def changed_by(self) -> str:
        """Who said so last."""


class Orders(Protocol):
    """What operators set."""

    async def overrides(self) -> Mapping[str, Override]:
        """By queue, all that was ever set."""
        ...


class Lock(Protocol):
    """What only one scaler holds."""

    async def acquire(self) -> bool:
        """Try to get it, without waiting."""
        ...

    async def held(self) -> bool:
        """Ask whether it is still ours."""
        ...


class Clock(Protocol):
    """Time, so that a test can own it."""

    def now(self) -> float:
        """Seconds, monotonic."""
        ...

    async def wait(self, stopping: asyncio.Event, seconds: float) -> None:
        """Return after so long, or at once when `stopping` is set."""
        ...
