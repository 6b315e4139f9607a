"""Rows into what an operator is answered. Pure: no store, no clock.

What is not known is null, never 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gateway.operations.history import Looked, limits_document, look_document, there_document
from gateway.operations.ports import Decided, Load, Pace, Pause, Present, Setting
from shared.events import timestamp
from shared.jobs import PRIORITY_CLASSES, class_of

SILENT_S = 30.0
"""Three heartbeats that did not come."""
ENOUGH_RAN = 5
"""From fewer attempts no mean is told."""


def queue_document(
    queue: str,
    *,
    loads: Sequence[Load],
    pace: Pace | None,
    workers: Iterable[Present],
    setting: Setting | None,
    offered: bool,
    in_per_s: float = 0.0,
    pause: Pause | None = None,
) -> dict[str, Any]:
    """One queue as `GET /v1/queues` shows it.

    Args:
        queue: Its name.
        loads: Its live jobs, by priority.
        pace: How it was served lately, where it was.
        workers: Its own.
        setting: What an operator set of its fleet.
        offered: Whether the catalog has a model for it.
        in_per_s: How many jobs a second came lately.
        pause: What an operator said of holding it.
    """
    crew = crew_document(workers)
    waiting, running = sum(load.waiting for load in loads), sum(load.running for load in loads)
    return {
        "queue": queue,
        "offered": offered,
        **_counts(loads),
        "scheduled": sum(load.scheduled for load in loads),
        "classes": {name: _counts(_of_class(loads, name)) for name in PRIORITY_CLASSES},
        "priorities": [
            {"priority": load.priority, **_counts([load])}
            for load in sorted(loads, key=lambda load: -load.priority)
            if load.waiting or load.running
        ],
        "ended_per_min": None if pace is None else round(pace.ended * 60 / pace.window_s, 3),
        "in_per_s": round(in_per_s, 3),
        "out_per_s": out_per_s(pace),
        **drain_document(waiting, in_per_s, out_per_s(pace)),
        **pause_document(pause),
        "mean_s": mean_s(pace),
        "eta_s": eta_s(waiting, running, slots=crew["slots"], job_s=mean_s(pace)),
        "workers": crew,
        "scaler": setting_document(setting),
    }


def _of_class(loads: Iterable[Load], wanted: str) -> list[Load]:
    return [load for load in loads if class_of(load.priority) == wanted]


def _counts(loads: Iterable[Load]) -> dict[str, Any]:
    found = list(loads)
    ages = [load.oldest_s for load in found if load.oldest_s is not None]
    return {
        "waiting": sum(load.waiting for load in found),
        "running": sum(load.running for load in found),
        "oldest_s": round(max(ages), 3) if ages else None,
    }


def out_per_s(pace: Pace | None) -> float | None:
    """How many jobs a second ended lately; None where no attempt ended within the hour."""
    return None if pace is None else round(pace.ended / pace.window_s, 3)


def drain_document(waiting: int, in_per_s: float, out_per_s: float | None) -> dict[str, float | None]:
    """In which time all that waits is done as things go: at best nothing comes, at worst as much as lately.

    A worst case of None beside a best case says that as much comes as goes: it does not drain.
    """
    low = high = None
    if waiting and out_per_s:
        low = round(waiting / out_per_s, 3)
        high = round(waiting / (out_per_s - in_per_s), 3) if out_per_s > in_per_s else None
    return {"drain_low_s": low, "drain_high_s": high}


def pause_document(pause: Pause | None) -> dict[str, Any]:
    """Who holds a queue, since when; nobody where it goes on."""
    held = pause if pause and pause.paused else None
    return {
        "paused": held is not None,
        "paused_by": held.changed_by if held else None,
        "paused_at": timestamp(held.changed_at) if held else None,
    }


def mean_s(pace: Pace | None) -> float | None:
    """For how long a job holds a slot, where enough were seen to say so."""
    if pace is None or pace.mean_s is None or pace.ran < ENOUGH_RAN:
        return None
    return round(pace.mean_s, 3)


def eta_s(waiting: int, running: int, *, slots: int, job_s: float | None) -> float | None:
    """Seconds in which those who are ready now would have done all that waits now.

    None where nothing waits, nobody is ready, or nobody knows how long a job takes. Whoever is started in
    between makes it less, whoever comes in between with a higher priority makes it more.
    """
    if not waiting or not slots or job_s is None:
        return None
    # Those that run are half done, on average; and the last one takes its own time, however many slots.
    return round(max(1.0, (waiting + running / 2) / slots) * job_s, 3)


def crew_document(workers: Iterable[Present]) -> dict[str, int]:
    """How many workers are heard of; each counts once, but the busy are ready too."""
    heard = [worker for worker in workers if not silent(worker)]
    staying = [worker for worker in heard if not leaving(worker)]
    ready = [worker for worker in staying if worker.state == "ready"]
    return {
        "starting": len(staying) - len(ready),
        "ready": len(ready),
        "busy": sum(1 for worker in ready if worker.busy or worker.jobs),
        "draining": len(heard) - len(staying),
        "slots": sum(worker.slots for worker in ready),
    }


def silent(worker: Present) -> bool:
    """Whether it missed three heartbeats, so that nobody knows if it lives."""
    return worker.heartbeat_s > SILENT_S


def leaving(worker: Present) -> bool:
    """Whether it takes no further job, or will not as soon as it hears that it was asked."""
    return worker.drain or worker.state == "draining"


def worker_document(worker: Present) -> dict[str, Any]:
    """One worker as `GET /v1/workers` shows it."""
    return {
        "id": worker.id,
        "queue": worker.queue,
        "state": worker.state,
        "draining": leaving(worker),
        "silent": silent(worker),
        "slots": worker.slots,
        "busy": worker.busy,
        "jobs": [_held(job) for job in worker.jobs],
        "host": worker.host,
        "device": worker.device,
        **vitals_document(worker.report),
        "started_at": timestamp(worker.started_at),
        "since": timestamp(worker.since),
        "heartbeat_s": round(worker.heartbeat_s, 3),
    }


DEVICE = ("device", "kind", "name", "utilisation", "memory_used", "memory_total")
LOADED = ("name", "version", "engines", "load_s", "memory")


def vitals_document(report: Mapping[str, Any] | None) -> dict[str, Any]:
    """A worker's devices and the models they hold; null where it told nothing, as one of an older version."""
    if report is None:
        return {"devices": None, "models": None}
    return {
        "devices": [{name: each.get(name) for name in DEVICE} for each in report.get("devices", ())],
        "models": [{name: each.get(name) for name in LOADED} for each in report.get("models", ())],
    }


def _held(job: Mapping[str, Any]) -> dict[str, Any]:
    left = job["lease_s"]
    rounded = {"running_s": round(job["running_s"], 3), "lease_s": None if left is None else round(left, 3)}
    return {**job, **rounded}


def setting_document(setting: Setting | None) -> dict[str, Any]:
    """What an operator set; all null where nobody ever did."""
    return {
        "min": setting.min if setting else None,
        "max": setting.max if setting else None,
        "paused": bool(setting and setting.paused),
        "changed_by": setting.changed_by if setting else None,
        "changed_at": timestamp(setting.changed_at) if setting else None,
    }


def fleet_document(
    queue: str,
    *,
    setting: Setting | None,
    latest: Decided | None,
    look: Looked | None,
    workers: Iterable[Present],
) -> dict[str, Any]:
    """One fleet as `GET /v1/scaler` shows it.

    Args:
        queue: Whose.
        setting: What an operator set.
        latest: The last decision.
        look: What the scaler found last.
        workers: The queue's own.
    """
    return {
        "queue": queue,
        **setting_document(setting),
        "there": there_document(crew_document(workers), look),
        "limits": limits_document(look),
        "look": look_document(look),
        "latest": decision_document(latest) if latest else None,
    }


def decision_document(decision: Decided) -> dict[str, Any]:
    """A decision without its inputs."""
    return {
        "id": decision.id,
        "at": timestamp(decision.at),
        "want": decision.want,
        "have": decision.have,
        "reason": decision.reason,
        "actions": _actions(decision.actions),
    }


def explained(decision: Decided) -> dict[str, Any]:
    """A decision with all that it rests on."""
    return {**decision_document(decision), "inputs": decision.inputs or {}}


def _actions(actions: Mapping[str, Any]) -> dict[str, Any]:
    """Holding is to do nothing of all this."""
    return {"launch": 0, "drain": [], "terminate": [], **actions}
