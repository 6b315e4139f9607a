"""A machine of the simulated world, and what is counted of all of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from scaler.offerings import Offering


@dataclass(slots=True, eq=False)
class Box:
    """A machine with its worker."""

    id: int
    offering: Offering
    launched: float
    ready_at: float | None = None
    job: int | None = None
    idle_since: float = 0.0
    draining: bool = False
    noticed: bool = False
    ended: float | None = None
    asked: bool = False
    """Its end was wanted, and no accident."""

    @property
    def ready(self) -> bool:
        """Whether it can take jobs, or could until it was asked to leave."""
        return self.ready_at is not None

    @property
    def free(self) -> bool:
        """Whether it takes a job now."""
        return self.ready and self.job is None and not self.draining and self.ended is None


@dataclass(slots=True)
class Tally:
    """What is counted."""

    machine_s: float = 0.0
    cost_s: float = 0.0
    """Machine seconds at their price, in on-demand seconds."""
    killed_busy: int = 0
    """By the policy, not by the cloud."""
    taken_busy: int = 0
    """By the cloud, with a job in hand."""
    launches: int = 0
    refused: int = 0
    most: int = 0
    timeline: list[tuple[float, int, int, int]] = field(default_factory=list)
    """At each look: the moment, machines, those at work, jobs waiting."""
