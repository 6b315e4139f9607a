"""For how long each worker has been leaving. It remembers, and asks nobody: no I/O, no clock.

A row says since when a worker drains, and of one that was only asked no more than that. One that never hears
of it, or never acts on it, is paid for until somebody looks.
"""

from __future__ import annotations

from dataclasses import replace

from scaler.snapshot import Machine, Snapshot, Unknown, Worker, WorkerState


class Departures:
    """Remembers since when each worker was seen to have been asked to leave."""

    def __init__(self) -> None:
        self._asked_at: dict[str, float] = {}

    def watch(self, workers: tuple[Worker, ...] | Unknown, now: float) -> tuple[Worker, ...] | Unknown:
        """The workers, and for how long those that are to leave have been about it."""
        if isinstance(workers, Unknown):
            return workers
        leaving = [worker.id for worker in workers if _is_leaving(worker)]
        self._asked_at = {name: self._asked_at.get(name, now) for name in leaving}
        return tuple(self._told(worker, now) for worker in workers)

    def _told(self, worker: Worker, now: float) -> Worker:
        asked_at = self._asked_at.get(worker.id)
        if asked_at is None:
            return worker
        drains_s = worker.since_s if worker.state is WorkerState.DRAINING else 0.0
        return replace(worker, leaving_s=max(drains_s, now - asked_at))


def longest_s(snapshot: Snapshot) -> float | None:
    """For how long the fleet's own worker that has been leaving longest is about it; None where unknown."""
    if isinstance(snapshot.machines, Unknown) or isinstance(snapshot.workers, Unknown):
        return None
    alive = _alive(snapshot.machines)
    leaving = [worker.leaving_s for worker in snapshot.workers if worker.id in alive]
    return max((seconds for seconds in leaving if seconds is not None), default=0.0)


def _alive(machines: tuple[Machine, ...]) -> frozenset[str]:
    return frozenset(machine.id for machine in machines if machine.alive)


def _is_leaving(worker: Worker) -> bool:
    asked = worker.drain or worker.state is WorkerState.DRAINING
    return asked and worker.state is not WorkerState.GONE
