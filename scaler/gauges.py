"""The scaler's metrics: what it saw, what it wants, and how often it could not tell."""

from __future__ import annotations

import math

from prometheus_client import Counter, Gauge

from scaler.departures import longest_s
from scaler.snapshot import Backlog, Config, Decision, Snapshot, Tier, Unknown
from scaler.spending import Spending

LEADER = Gauge("leveret_scaler_leader", "1 while this scaler is the one that acts")
WANT = Gauge("leveret_scaler_want_workers", "Workers aimed at; NaN while it holds", ["queue"])
HAVE = Gauge("leveret_scaler_have_workers", "Workers that serve or are about to", ["queue"])
BACKLOG = Gauge("leveret_scaler_backlog_jobs", "Queued jobs; NaN when unknown", ["queue", "class"])
OLDEST = Gauge("leveret_scaler_oldest_job_age_seconds", "Age of the job queued longest", ["queue", "class"])
RUNNING = Gauge("leveret_scaler_running_jobs", "Running jobs; NaN when unknown", ["queue"])
SERVICE = Gauge("leveret_scaler_service_seconds", "A job's time in a slot; NaN before the first", ["queue"])
BOOT = Gauge("leveret_scaler_boot_seconds", "From launch to ready; NaN before the first", ["queue"])
FAILED_LAUNCHES = Gauge("leveret_scaler_failed_launches", "Launches in a row that came to nothing", ["queue"])
LAUNCHED = Counter("leveret_scaler_launches_total", "Machines, pods or processes started", ["queue"])
LAUNCH_FAILURES = Counter("leveret_scaler_launch_failures_total", "Launches that came to nothing", ["queue"])
OBJECTIVE = Gauge("leveret_scaler_objective_seconds", "Within which a job is to start", ["queue", "class"])
LIMIT = Gauge("leveret_scaler_limit_workers", "Workers at least and at most", ["queue", "bound"])
LOOKED = Gauge(
    "leveret_scaler_last_look_timestamp_seconds", "When the leader last looked; 0: it does not lead"
)
LEAVING = Gauge(
    "leveret_scaler_longest_leaving_seconds",
    "For how long the worker that has been leaving longest is about it; NaN when unknown",
    ["queue"],
)
PATIENCE = Gauge("leveret_scaler_leaving_patience_seconds", "In which a worker should have left", ["queue"])
ALARMS = Gauge("leveret_scaler_alarms", "Contradictions somebody should look at", ["queue"])
COST = Gauge(
    "leveret_scaler_cost_per_hour",
    "What the machines cost, in the deployment's currency; NaN when not known",
    ["queue"],
)
UNPRICED = Gauge("leveret_scaler_unpriced_machines", "Machines that the cost leaves out", ["queue"])
DECISIONS = Counter("leveret_scaler_decisions_total", "Decisions by what they did", ["queue", "action"])


def show(queue: str, snapshot: Snapshot, decision: Decision, spent: Spending | None = None) -> None:
    """Put one fleet's figures on the metrics page."""
    COST.labels(queue).set(math.nan if spent is None or spent.now is None else float(spent.now))
    UNPRICED.labels(queue).set(math.nan if spent is None else spent.unpriced)
    WANT.labels(queue).set(math.nan if decision.want is None else decision.want)
    HAVE.labels(queue).set(decision.have)
    FAILED_LAUNCHES.labels(queue).set(snapshot.failures.count)
    ALARMS.labels(queue).set(len(decision.alarms))
    LEAVING.labels(queue).set(_known(longest_s(snapshot)))
    SERVICE.labels(queue).set(_known(snapshot.pace.service_s))
    BOOT.labels(queue).set(_known(snapshot.pace.boot_s))
    for tier in Tier:
        _show_backlog(queue, tier, snapshot)
    running = math.nan if isinstance(snapshot.demand, Unknown) else snapshot.demand.running
    RUNNING.labels(queue).set(running)


def expect(queue: str) -> None:
    """Show a fleet's counters before the first event: a rise from nothing to 1 is no rise to Prometheus."""
    for counter in (LAUNCHED, LAUNCH_FAILURES):
        counter.labels(queue)
    for action in ("launch", "drain", "terminate", "hold", "wait"):
        DECISIONS.labels(queue, action)


def show_limits(queue: str, config: Config) -> None:
    """Put what a fleet is held to on the metrics page."""
    for tier, wait_s in config.wait_s.items():
        OBJECTIVE.labels(queue, tier.value).set(wait_s)
    LIMIT.labels(queue, "min").set(config.min)
    LIMIT.labels(queue, "max").set(config.max)
    PATIENCE.labels(queue).set(config.patience_s)


def looked() -> None:
    """The leader has looked at all fleets."""
    LOOKED.set_to_current_time()


def forget() -> None:
    """This scaler does not lead (any more): what it last saw must not be taken for the present."""
    LOOKED.set(0)
    for gauge in _OF_A_LEADER:
        gauge.clear()


_OF_A_LEADER = (
    *(
        WANT,
        HAVE,
        BACKLOG,
        OLDEST,
        RUNNING,
        SERVICE,
        BOOT,
        FAILED_LAUNCHES,
        OBJECTIVE,
        LIMIT,
        LEAVING,
        PATIENCE,
        ALARMS,
        COST,
        UNPRICED,
    ),
)


def count(queue: str, decision: Decision) -> None:
    """Count a decision that was written down."""
    for action in ("launch", "drain", "terminate"):
        if getattr(decision, action):
            DECISIONS.labels(queue, action).inc()
    if decision.want is None:
        DECISIONS.labels(queue, "hold").inc()
    elif not decision.acts:
        DECISIONS.labels(queue, "wait").inc()


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
