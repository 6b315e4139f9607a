"""Rules for how long an idle worker is kept, tried against the one figure of the settings."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from scaler.credit import times
from scaler.policy import decide
from scaler.snapshot import Config, Decision, Snapshot, Unknown

REMEMBERED = 300
ENOUGH = 30
CHOICES = (0.0, 15.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 240.0, 300.0, 420.0, 600.0)


class Surplus:
    """Work packs, so one of several that is idle is not needed; only the last is worth some patience.

    Args:
        last_s: How long the last one may be idle.
        others_s: How long any other.
    """

    def __init__(self, last_s: float, others_s: float) -> None:
        self._last_s = last_s
        self._others_s = others_s

    def __call__(self, snapshot: Snapshot, limits: Config, now: float) -> Decision:
        """As `scaler.policy.decide`."""
        limits = replace(limits, settled_s=min(limits.settled_s, self._others_s))
        decision = decide(snapshot, replace(limits, idle_s=self._others_s), now)
        if not decision.drain or len(decision.drain) < decision.have:
            return decision
        patient = decide(snapshot, replace(limits, idle_s=self._last_s), now)
        last = decision.drain[-1]
        return decision if last in patient.drain else replace(decision, drain=decision.drain[:-1])


class Learned:
    """The last one is kept for as long as would have cost least over the gaps seen so far, boots included.

    After Shahrad and others, "Serverless in the Wild" (USENIX ATC 2020), which keeps a histogram of gaps.
    """

    def __init__(self, others_s: float) -> None:
        self._others_s = others_s
        self._gaps = deque[float](maxlen=REMEMBERED)
        self._empty_since: float | None = None

    def __call__(self, snapshot: Snapshot, limits: Config, now: float) -> Decision:
        """As `scaler.policy.decide`."""
        if not isinstance(snapshot.demand, Unknown):
            self._watch(snapshot.demand.waiting + snapshot.demand.running, now)
        patience_s = cheapest(self._gaps, times(snapshot.pace, limits).boot_s)
        return Surplus(max(1.0, patience_s), self._others_s)(snapshot, limits, now)

    def _watch(self, jobs: int, now: float) -> None:
        if not jobs and self._empty_since is None:
            self._empty_since = now
        elif jobs and self._empty_since is not None:
            self._gaps.append(now - self._empty_since)
            self._empty_since = None


def cheapest(gaps: Sequence[float], boot_s: float) -> float:
    """The patience that would have cost least: what is waited for, and a boot where it was too short."""
    if len(gaps) < ENOUGH:
        return 60.0
    return min(CHOICES, key=lambda kept_s: sum(min(gap, kept_s) + boot_s * (gap > kept_s) for gap in gaps))
