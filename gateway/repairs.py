"""What the relay puts right, counted by cause. Part of the relay; nothing else enters."""

from __future__ import annotations

from typing import Literal, get_args

from prometheus_client import Counter

Cause = Literal["lease_expired", "overtaken", "queue_empty", "queue_gone"]

REPAIRS = Counter(
    "leveret_gateway_relay_repairs_total",
    "Jobs that were put right: their worker went silent, or the broker lost their message",
    ["cause"],
)
_OF: dict[Cause, Counter] = {cause: REPAIRS.labels(cause) for cause in get_args(Cause)}
"""Made at once: what never happened is shown as 0, so that the first time is seen as a rise."""


def repairs_so_far() -> int:
    """Jobs put right since this process started, whatever the cause."""
    samples = [sample for metric in REPAIRS.collect() for sample in metric.samples]
    return round(sum(sample.value for sample in samples if sample.name.endswith("_total")))


def repaired(cause: Cause, jobs: int) -> None:
    """Count jobs that were put right for this cause."""
    _OF[cause].inc(jobs)
