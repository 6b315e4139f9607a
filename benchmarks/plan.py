"""How much is measured: the whole run, or a quick look."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """Amounts; each round measures both sides, one straight after the other.

    Attributes:
        submit_s: Seconds of load per number of clients.
        submit_rounds: Rounds of those.
        drain_jobs: Jobs queued before a worker starts.
        drain_rounds: Rounds of those.
        latency_jobs: Jobs one after the other, per way of waiting.
        latency_rounds: Rounds of those.
    """

    submit_s: float
    submit_rounds: int
    drain_jobs: int
    drain_rounds: int
    latency_jobs: int
    latency_rounds: int


FULL = Plan(submit_s=3, submit_rounds=3, drain_jobs=700, drain_rounds=3, latency_jobs=100, latency_rounds=3)
QUICK = Plan(submit_s=1, submit_rounds=1, drain_jobs=200, drain_rounds=1, latency_jobs=25, latency_rounds=1)
CLIENTS = (1, 16, 64)
SLOTS = (1, 16)
WARM_UP_JOBS = 10
