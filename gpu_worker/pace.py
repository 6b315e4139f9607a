"""How long the jobs of each model took in this worker's hands. In memory only: a new worker knows nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

REMEMBERED = 64
"""Runs per model: enough for a quantile, and old ones are forgotten when a model's work changes."""


class Pace:
    """The latest run times, from claim to commit, by ``name@version``."""

    def __init__(self) -> None:
        self._took_s: dict[str, deque[float]] = {}

    def note(self, model: str, took_s: float) -> None:
        """A job ended by itself, well or not: either way it left this worker's hands after so long."""
        if model not in self._took_s:
            self._took_s[model] = deque(maxlen=REMEMBERED)
        self._took_s[model].append(took_s)

    def took_s(self, model: str) -> Sequence[float]:
        """The latest run times, in the order in which they ended."""
        return self._took_s.get(model, ())
