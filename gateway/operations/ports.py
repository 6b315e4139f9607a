"""What operations need from the store; for time and money see `usage`. Nothing here but signatures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from gateway.operations.history import Looked


class Load(Protocol):
    """The live jobs of one queue and priority."""

    @property
    def queue(self) -> str:
        """The queue's name."""

    @property
    def priority(self) -> int:
        """0 … 10."""

    @property
    def waiting(self) -> int:
        """Jobs that could run now."""

    @property
    def running(self) -> int:
        """Jobs that run."""

    @property
    def scheduled(self) -> int:
        """Jobs whose time has not come."""

    @property
    def oldest_s(self) -> float | None:
        """Age of the one that waits longest, seconds; None where none waits."""


class Pace(Protocol):
    """How one queue was served lately."""

    @property
    def queue(self) -> str:
        """The queue's name."""

    @property
    def ended(self) -> int:
        """Jobs that ended within the last `window_s` seconds."""

    @property
    def window_s(self) -> float:
        """Above 0."""

    @property
    def ran(self) -> int:
        """Attempts of the last hour that ran to an end of their own."""

    @property
    def mean_s(self) -> float | None:
        """For how long these held a slot, on average."""


class Present(Protocol):
    """A worker that has not said goodbye."""

    @property
    def id(self) -> str:
        """The worker's."""

    @property
    def queue(self) -> str:
        """What it serves."""

    @property
    def state(self) -> str:
        """``starting``, ``ready`` or ``draining``, in its own words."""

    @property
    def host(self) -> str:
        """The machine's name."""

    @property
    def device(self) -> str:
        """``cpu`` or ``cuda``."""

    @property
    def slots(self) -> int:
        """Jobs in hand at most."""

    @property
    def busy(self) -> int:
        """Jobs in hand, as of its last heartbeat."""

    @property
    def drain(self) -> bool:
        """It was asked to drain."""

    @property
    def started_at(self) -> datetime:
        """Its first heartbeat."""

    @property
    def since(self) -> datetime:
        """When it entered its state."""

    @property
    def heartbeat_s(self) -> float:
        """Last heard of so long ago, seconds."""

    @property
    def jobs(self) -> Sequence[Mapping[str, Any]]:
        """What it runs, by the jobs' rows."""

    @property
    def report(self) -> Mapping[str, Any] | None:
        """What it told of its devices and models, as of its last heartbeat; None: nothing."""


class Pause(Protocol):
    """What was last said about holding something: a queue, or the scaler's hand on one's fleet."""

    @property
    def paused(self) -> bool:
        """Nothing is started."""

    @property
    def changed_by(self) -> str:
        """Who said so, as ``tenant/name``."""

    @property
    def changed_at(self) -> datetime:
        """When."""


class Setting(Pause, Protocol):
    """What an operator set of one fleet."""

    @property
    def min(self) -> int | None:
        """Workers at least; None: as the scaler's settings say."""

    @property
    def max(self) -> int | None:
        """Workers at most; None: as the scaler's settings say."""


class Pauses(Protocol):
    """Which queues are held."""

    async def pauses(self) -> Mapping[str, Pause]:
        """By queue; raises Unavailable."""


class Holds(Pauses, Protocol):
    """Holds queues, and lets them go on."""

    async def hold(self, queue: str, *, by: str) -> Pause:
        """Nothing of it is started from now on."""

    async def let_go(self, queue: str, *, by: str) -> Pause:
        """It goes on, with what has waited meanwhile."""


class Decided(Protocol):
    """A decision of the scaler."""

    @property
    def id(self) -> int:
        """Its number: later ones have higher ones."""

    @property
    def queue(self) -> str:
        """On whose fleet."""

    @property
    def at(self) -> datetime:
        """When."""

    @property
    def want(self) -> int | None:
        """Workers aimed at; None: nothing was decided."""

    @property
    def have(self) -> int:
        """Workers that served or were about to."""

    @property
    def reason(self) -> str:
        """In words."""

    @property
    def actions(self) -> Mapping[str, Any]:
        """What was done about it."""

    @property
    def inputs(self) -> Mapping[str, Any] | None:
        """All that it rests on."""


class Records(Protocol):
    """The rows of jobs, workers and decisions."""

    async def loads(self) -> Sequence[Load]:
        """Every queue with live jobs, by priority."""

    async def paces(self) -> Sequence[Pace]:
        """Every queue of which an attempt ended within the hour."""

    async def came(self) -> Mapping[str, float]:
        """By queue how many jobs a second came lately; none where it is missing."""

    async def workers(self) -> Sequence[Present]:
        """Every worker that may be there."""

    async def worker(self, id: str) -> Present | None:  # noqa: A002  the column's name
        """One of them."""

    async def drain(self, id: str) -> None:  # noqa: A002  the column's name
        """Ask a worker to finish what it holds and leave."""

    async def undrain(self, id: str) -> bool:  # noqa: A002  the column's name
        """Take that back; False where it has heard of it."""

    async def decisions(self, queue: str, *, before: int | None, limit: int) -> Sequence[Decided]:
        """The latest decisions on a fleet with ``id < before``, newest first."""

    async def latest(self, queues: Sequence[str]) -> Sequence[Decided]:
        """The last decision on each of these fleets."""

    async def looks(self, queues: Sequence[str]) -> Sequence[Looked]:
        """What the scaler found last of each of these fleets."""

    async def spans(self, queue: str, *, since_s: float) -> Sequence[Looked]:
        """What it found of one fleet within these seconds, oldest first."""

    async def knows(self, queue: str) -> bool:
        """Whether any row tells of such a queue."""


class Settings(Protocol):
    """What operators set of fleets."""

    async def overrides(self) -> Mapping[str, Setting]:
        """By queue."""

    async def override(
        self,
        queue: str,
        *,
        by: str,
        limits: dict[str, int | None] | None = None,
        paused: bool | None = None,
    ) -> Setting | None:
        """Set what is said; None, with nothing changed, where the minimum would be above the maximum."""
