"""What the overview needs from its surroundings. Nothing here but signatures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from gateway.operations.ports import Decided, Load, Present, Setting


class Endings(Protocol):
    """What ended within one step."""

    @property
    def step(self) -> int:
        """Which one."""

    @property
    def ended(self) -> int:
        """Attempts that ended their job."""

    @property
    def failed(self) -> int:
        """Those of them that failed."""

    @property
    def p95_wait_s(self) -> float | None:
        """Nineteen in twenty waited no longer for their start."""


class Lately(Protocol):
    """What ended lately."""

    @property
    def now(self) -> float:
        """The database's clock, seconds since 1970."""

    @property
    def ended(self) -> int:
        """Attempts that ended their job."""

    @property
    def failed(self) -> int:
        """Those of them that failed."""

    @property
    def retried(self) -> int:
        """Attempts beside these that failed and were repeated."""

    @property
    def waits(self) -> int:
        """Waits that are known."""

    @property
    def p95_wait_s(self) -> float | None:
        """Nineteen in twenty of these were no longer."""


class Alike(Protocol):
    """Attempts that failed alike."""

    @property
    def code(self) -> str:
        """The error's."""

    @property
    def model(self) -> str:
        """Its name."""

    @property
    def count(self) -> int:
        """How often."""

    @property
    def message(self) -> str:
        """The last one's."""


class Failure(Alike, Protocol):
    """Within the last hour; counted are those that failed their job."""

    @property
    def retried(self) -> int:
        """How often one that was repeated failed so."""

    @property
    def last_at(self) -> datetime:
        """The last one."""


class Failing(Alike, Protocol):
    """Lately, more than any others."""

    @property
    def fingerprint(self) -> str:
        """Of their group."""


class Figures(Protocol):
    """Counts, of one tenant or (None) of all; every call raises Unavailable."""

    async def arrivals(self, tenant: str | None, *, step_s: float, first: int) -> Mapping[int, int]:
        """Jobs that came, by step."""

    async def endings(self, tenant: str | None, *, step_s: float, first: int) -> Sequence[Endings]:
        """Attempts that ended, by step."""

    async def lately(self, tenant: str | None, *, window_s: float = 60.0) -> Lately:
        """The last seconds."""

    async def loads(self, tenant: str | None) -> Sequence[Load]:
        """Live jobs."""

    async def errors(self, tenant: str | None) -> Sequence[Failure]:
        """The most frequent."""

    async def failing(self, tenant: str | None, *, window_s: float = 60.0) -> Failing | None:
        """The most frequent of the last seconds."""

    async def costs(self, *, step_s: float, first: int, last: int) -> Mapping[int, float | None]:
        """What all machines cost an hour, by step; None where one has no price."""

    async def decided(self) -> Sequence[Decided]:
        """The scaler's last decisions."""

    async def scaled(self) -> frozenset[str]:
        """Queues that a scaler decides on."""


class Crew(Protocol):
    """Who is at work."""

    async def workers(self) -> Sequence[Present]:
        """Every worker that may be there; raises Unavailable."""


class Fleets(Protocol):
    """What operators set."""

    async def overrides(self) -> Mapping[str, Setting]:
        """Of the scaler's fleets, by queue; raises Unavailable."""


class Answering(Protocol):
    """A server that can be asked whether it is there."""

    async def ping(self) -> None:
        """Raises Unavailable."""
