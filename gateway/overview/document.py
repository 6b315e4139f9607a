"""What the overview answers, of one look at everything. Pure: no store.

What is not known is null, never 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gateway.operations.figures import leaving, silent
from gateway.operations.ports import Load, Present
from gateway.overview.health import Finding, seconds
from gateway.overview.ports import Failure, Lately
from gateway.overview.ring import MINUTE, SIZE, STEP_S, WINDOW_S, Ring
from shared.events import timestamp

GAPS = (None,) * SIZE
"""A curve of which nothing is known."""
SLOW_START_S = 180.0
"""A worker that starts for so long is worth a look."""

Document = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One look."""

    lately: Lately
    loads: Sequence[Load]
    errors: Sequence[Failure]
    workers: Sequence[Present]
    cost: Document

    @property
    def failure_ratio(self) -> float | None:
        """Of what ended lately; None where nothing did."""
        return self.lately.failed / self.lately.ended if self.lately.ended else None

    @property
    def heard(self) -> list[Present]:
        """Those that have their device and were heard of; one that starts does not work yet."""
        return [worker for worker in self.workers if worker.state != "starting" and not silent(worker)]

    @property
    def busy(self) -> int:
        """How many of these work."""
        return sum(1 for worker in self.heard if worker.busy or worker.jobs)


def seen_document(seen: Seen, ring: Ring, step: int, *, private: bool) -> Document:
    """What is shown of a look and the curves before it; to a tenant nothing of the machines."""
    return {
        "stats": _stats(seen, ring, step, private=private),
        "step_s": STEP_S,
        "window_s": WINDOW_S,
        "n": {"p95_wait_s": seen.lately.waits, "failure_ratio": seen.lately.ended},
        "backlog": _backlog(seen.loads),
        "totals": _totals(seen.loads),
        "errors": [_error(each) for each in seen.errors],
        "unwell": [] if private else _unwell(seen.workers),
    }


def _stats(seen: Seen, ring: Ring, step: int, *, private: bool) -> Document:
    minute = range(step - MINUTE, step)
    values = {
        "arrivals_per_s": ring.mean("arrivals_per_s", minute),
        "completions_per_s": ring.mean("completions_per_s", minute),
        "oldest_wait_s": oldest(seen.loads),
        "p95_wait_s": seen.lately.p95_wait_s,
        "failure_ratio": seen.failure_ratio,
    }
    stats: Document = {
        name: {"value": _rounded(value), "points": [_rounded(point) for point in ring.points(name, step)]}
        for name, value in values.items()
    }
    stats["devices_busy"] = _devices(seen, ring, step, private=private)
    stats["cost_per_h"] = seen.cost
    return stats


def _devices(seen: Seen, ring: Ring, step: int, *, private: bool) -> Document:
    if private:
        return {"value": None, "total": None, "points": GAPS}
    points = ring.points("devices_busy", step)
    return {"value": seen.busy, "total": len(seen.heard), "points": points}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def oldest(loads: Iterable[Load]) -> float | None:
    """Seconds that the job waits which waits longest; None where none waits."""
    return max((load.oldest_s for load in loads if load.oldest_s is not None), default=None)


def _backlog(loads: Iterable[Load]) -> list[Document]:
    ordered = sorted(loads, key=lambda load: (load.queue, -load.priority))
    return [
        {
            "queue": load.queue,
            "priority": load.priority,
            "waiting": load.waiting,
            "running": load.running,
            "oldest_s": _rounded(load.oldest_s),
        }
        for load in ordered
        if load.waiting or load.running
    ]


def _totals(loads: Sequence[Load]) -> Document:
    return {name: sum(getattr(load, name) for load in loads) for name in ("waiting", "running", "scheduled")}


def _error(failure: Failure) -> Document:
    return {
        "code": failure.code,
        "model": failure.model,
        "count": failure.count,
        "retried": failure.retried,
        "last_at": timestamp(failure.last_at),
        "message": failure.message,
    }


def _unwell(workers: Iterable[Present]) -> list[Document]:
    found = ((worker, _why_unwell(worker)) for worker in workers)
    return [
        {
            "id": worker.id,
            "queue": worker.queue,
            "why": why[0],
            "sentence": why[1],
            "heartbeat_s": round(worker.heartbeat_s, 3),
            "jobs": [job["id"] for job in worker.jobs],
        }
        for worker, why in found
        if why is not None
    ]


def _why_unwell(worker: Present) -> tuple[str, str] | None:
    if silent(worker):
        return "silent", f"Not heard of for {seconds(worker.heartbeat_s)}."
    if leaving(worker):
        return "draining", "Finishes what it holds and leaves."
    since_s = (datetime.now(UTC) - worker.since).total_seconds()
    if worker.state == "starting" and since_s > SLOW_START_S:
        return "starting_long", f"Has been starting for {seconds(since_s)}."
    return None


def finding_document(finding: Finding, *, private: bool) -> Document:
    """Something that is wrong, without what a tenant need not know."""
    hidden = private and not finding.own
    return {
        "level": finding.level,
        "code": finding.code,
        "sentence": finding.sentence,
        "cause": finding.cause,
        "command": None if hidden else finding.command,
        "page": "jobs" if hidden else finding.page,
        "subject": finding.subject,
    }
