"""How long a job waits within its worker, though it counts as running. Nothing but a clock and arithmetic.

It waits for the gate, for a process, for the load of a model, and for each stage that is at work on others.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

OWN = ("load_s", "prepare_s", "infer_s", "finish_s")
"""What an engine tells of its work on the job itself."""


@dataclass(slots=True)
class Turn:
    """One job's way through an engine, on the machine's monotonic clock."""

    _since: float = 0.0
    _begun: float | None = None
    _took_s: float = 0.0

    def wait(self) -> None:
        """The job is handed to the engines."""
        self._since, self._begun = time.monotonic(), None

    def begin(self) -> None:
        """An engine turns to it for the first time; later times change nothing."""
        if self._begun is None:
            self._begun = time.monotonic()

    def end(self) -> float:
        """It came back. Returns the seconds until an engine began with it: where it failed, all one knows."""
        now = time.monotonic()
        self._took_s = now - self._since
        begun = now if self._begun is None else self._begun
        return round(begun - self._since, 6)

    def beside(self, timings: Mapping[str, float]) -> float:
        """The seconds that it took beside the work on it, so that all stages add up.

        Args:
            timings: As the engine told them; an algorithm may have forged them.
        """
        told = sum(timings.get(name, 0.0) for name in OWN)
        return round(min(self._took_s, max(0.0, self._took_s - told)), 6)
