"""Hears on the bus that a row in hand changed. Only a hint: the renewal that follows reads the row itself."""

from __future__ import annotations

from uuid import UUID

from gpu_worker.leases import Leases
from shared.events import Event


class Nudges:
    """The worker's ear on the bus; of all that is said there it minds one thing."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases

    def nudged(self, job_id: UUID) -> None:
        """Read the row, if the job is in hand."""
        self._leases.nudge(job_id)

    def confirmed(self, tenant: str) -> None:
        """A worker follows no tenant."""

    def received(self, tenant: str, event: Event) -> None:
        """A worker follows no tenant."""

    def lost(self) -> None:
        """The renewals go on without."""
