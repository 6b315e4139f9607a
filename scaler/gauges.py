"""The scaler's metrics: what it saw, what it wants, and how often it could not tell."""

from __future__ import annotations

import math

from prometheus_client import Counter, Gauge

from scaler.snapshot import Backlog, Decision, Snapshot, Tier, Unknown

LEADER = Gauge("leveret_scaler_leader", "1 while this scaler is the one that acts")
WANT = Gauge("leveret_scaler_want_workers", "Workers aimed at; NaN while it holds", ["queue"])
HAVE = Gauge("leveret_scaler_have_workers", "Workers that serve or are about to", ["queue"])
BACKLOG = Gauge("leveret_scaler_backlog_jobs", "Queued jobs; NaN when unknown", ["queue", "tier"])
OLDEST = Gauge("leveret_scaler_oldest_job_age_seconds", "Age of the job queued longest", ["queue", "tier"])
RUNNING = Gauge("leveret_scaler_running_jobs", "Running jobs; NaN when unknown", ["queue"])
SERVICE = Gauge("leveret_scaler_service_seconds", "A job's time in a slot; NaN before the first", ["queue"])
BOOT = Gauge("leveret_scaler_boot_seconds", "From launch to ready; NaN before the first", ["queue"])
FAILED_LAUNCHES = Gauge("leveret_scaler_failed_launches", "Launches in a row that came to nothing", ["queue"])
ALARMS = Gauge("leveret_scaler_alarms", "Contradictions somebody should look at", ["queue"])
DECISIONS = Counter("leveret_scaler_decisions_total", "Decisions by what they did", ["queue", "action"])


def show(queue: str, snapshot: Snapshot, decision: Decision) -> None:
    """Put one fleet's figures on the metrics page."""
    WANT.labels(queue).set(math.nan if decision.want is None else decision.want)
    HAVE.labels(queue).set(decision.have)
    FAILED_LAUNCHES.labels(queue).set(snapshot.failures.count)
    ALARMS.labels(queue).set(len(decision.alarms))
    SERVICE.labels(queue).set(_known(snapshot.pace.service_s))
    BOOT.labels(queue).set(_known(snapshot.pace.boot_s))
    for tier in Tier:
        _show_backlog(queue, tier, snapshot)
    running = math.nan if isinstance(snapshot.demand, Unknown) else snapshot.demand.running
    RUNNING.labels(queue).set(running)


def count(queue: str, decision: Decision) -> None:
    """Count a decision that was written down."""
    for action in ("launch", "drain", "terminate"):
        if getattr(decision, action):
            DECISIONS.labels(queue, action).inc()
    if decision.want is None:
        DECISIONS.labels(queue, "hold").inc()


def _show_backlog(queue: str, tier: Tier, snapshot: Snapshot) -> None:
    if isinstance(snapshot.demand, Unknown):
        waiting, oldest_s = math.nan, math.nan
    else:
        backlog = snapshot.demand.tiers.get(tier, Backlog())
        waiting, oldest_s = backlog.waiting, backlog.oldest_s
    BACKLOG.labels(queue, tier.value).set(waiting)
    OLDEST.labels(queue, tier.value).set(oldest_s)


def _known(value: float | None) -> float:
    return math.nan if value is None else value
