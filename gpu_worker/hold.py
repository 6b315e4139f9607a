"""A job in hand: its fence, its progress, and the wish of others that it stop."""

from __future__ import annotations

import asyncio
import enum

from shared.jobs import Claim


class Stop(enum.Enum):
    """Why a running job has to stop."""

    CANCELED = "canceled"
    LOST = "lost"
    """The fence moved on: somebody else owns it."""
    RELEASED = "released"
    """This worker has to go."""


class Hold:
    """What the execution, the leases and the drain share about one attempt.

    Attributes:
        claim: The attempt.
        progress: 0 … 1, as the algorithm tells it.
        stop: Why it has to stop, once it does.
    """

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.progress = 0.0
        self.stop: Stop | None = None
        self._wanted = asyncio.Event()

    def ask(self, reason: Stop) -> None:
        """Ask it to stop; the first reason stands, but a lost fence outweighs every other."""
        if self.stop is None or reason is Stop.LOST:
            self.stop = reason
        self._wanted.set()

    async def stop_wanted(self) -> None:
        """Return once somebody asked."""
        await self._wanted.wait()
