"""A job in hand: its fence, its progress, and the wish of others that it stop."""

from __future__ import annotations

import enum
from collections.abc import Callable

from gpu_worker.trail import NO_TRAIL, Trail
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
        trail: Its part of the job's trace.
        began: When it was claimed, on the loop's clock.
        progress: 0 … 1, as the algorithm tells it.
        computed: The engine is done with it; what is left is to store its outputs.
        stop: Why it has to stop, once it does.
    """

    def __init__(self, claim: Claim, trail: Trail = NO_TRAIL) -> None:
        self.claim = claim
        self.trail = trail
        self.began = 0.0
        self.progress = 0.0
        self.computed = False
        self.stop: Stop | None = None
        self._tell: Callable[[], object] | None = None

    @property
    def model(self) -> str:
        """What it runs, as ``name@version``."""
        return f"{self.claim.model}@{self.claim.model_version}"

    def ask(self, reason: Stop) -> None:
        """Ask it to stop; the first reason stands, but a lost fence outweighs every other."""
        if self.stop is None or reason is Stop.LOST:
            self.stop = reason
        if self._tell is not None:
            self._tell()

    def when_asked(self, tell: Callable[[], object]) -> None:
        """Call this whenever somebody asks; at once, where somebody has."""
        self._tell = tell
        if self.stop is not None:
            tell()
