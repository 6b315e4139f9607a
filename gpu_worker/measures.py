"""What is counted of an attempt when it has ended. Nothing but metrics; no label may come from a job.

An engine's answer is an algorithm's to forge: of its timings only the known stages become series.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import cache

from prometheus_client import Counter, Histogram

from shared.jobs import PRIORITY_CLASSES, Claim, Evidence, class_of

ATTEMPTS = Counter("leveret_worker_attempts_total", "Attempts by what became of them", ["model", "outcome"])
FAILURES = Counter(
    "leveret_worker_errors_total", "Attempts that ended with an error, by its code", ["model", "code"]
)
WAITS = Histogram(
    "leveret_worker_wait_seconds",
    "From a job's queueing until it was claimed here",
    ["queue", "class"],
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14400),
)
STAGES = Histogram(
    "leveret_worker_stage_seconds",
    "One stage of an attempt",
    ["model", "stage"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 1800, 7200),
)
BATCHES = Histogram(
    "leveret_worker_batch_jobs",
    "With how many others, itself included, a job went through its model",
    ["model"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128),
)
MACHINE = Counter(
    "leveret_worker_machine_seconds_total",
    "Share of the machine's time that ended attempts took, by what became of them",
    ["queue", "model", "outcome"],
)
COST = Counter(
    "leveret_worker_cost_total",
    "What ended attempts cost, as far as the machine has a price, in the deployment's currency",
    ["queue", "model", "outcome"],
)

STAGE_NAMES = ("fetch", "turn", "load", "prepare", "infer", "finish", "store")
_STAGE_OF = {f"{stage}_s": stage for stage in STAGE_NAMES}


def expect(queue: str) -> None:
    """Show what a worker of this queue will measure before the first job: 0 is no gap."""
    for name in PRIORITY_CLASSES:
        _wait(queue, name)


def measure(claim: Claim, evidence: Evidence, outcome: str) -> None:
    """Count an attempt.

    Args:
        claim: The attempt.
        evidence: What it left; `timings` in seconds.
        outcome: The job's state afterwards, or ``discarded``.
    """
    _attempt(claim.model, outcome).inc()
    if evidence.error:
        _failure(claim.model, str(evidence.error["code"])).inc()
    _measure_times(claim, evidence.timings)


def charge(claim: Claim, outcome: str, *, machine_s: float, cost: Decimal | None) -> None:
    """Count what an attempt took.

    Args:
        claim: The attempt.
        outcome: The job's state afterwards.
        machine_s: Its share of the machine's time.
        cost: Of this; None is not known, and not counted.
    """
    _machine(claim.queue, claim.model, outcome).inc(machine_s)
    if cost is not None:
        _cost(claim.queue, claim.model, outcome).inc(float(cost))


def _measure_times(claim: Claim, timings: Mapping[str, float]) -> None:
    for name, seconds in timings.items():
        if stage := _STAGE_OF.get(name):
            _stage(claim.model, stage).observe(seconds)
    if "queue_s" in timings:
        _wait(claim.queue, class_of(claim.priority)).observe(timings["queue_s"])
    if "batch_size" in timings:
        _batch(claim.model).observe(timings["batch_size"])


# Looking a child up costs more than counting: each is looked up once.


@cache
def _attempt(model: str, outcome: str) -> Counter:
    return ATTEMPTS.labels(model, outcome)


@cache
def _failure(model: str, code: str) -> Counter:
    return FAILURES.labels(model, code)


@cache
def _wait(queue: str, name: str) -> Histogram:
    return WAITS.labels(queue, name)


@cache
def _stage(model: str, stage: str) -> Histogram:
    return STAGES.labels(model, stage)


@cache
def _batch(model: str) -> Histogram:
    return BATCHES.labels(model)


@cache
def _machine(queue: str, model: str, outcome: str) -> Counter:
    return MACHINE.labels(queue, model, outcome)


@cache
def _cost(queue: str, model: str, outcome: str) -> Counter:
    return COST.labels(queue, model, outcome)
