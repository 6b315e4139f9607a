"""What changed between two looks at a queue's workers. Pure but for the clock; standard library only."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MOVED_S = 1.0
"""A lease's end that moved by less is the same: answers take time."""
Told = tuple[str, str, str]


class Crew:
    """Who was there at the last look, and when the watched job's lease would end."""

    def __init__(self) -> None:
        self._states: dict[str, str] = {}
        self._lease: tuple[int, float] | None = None

    def see(self, workers: Sequence[Mapping[str, Any]], job_id: str) -> list[Told]:
        """Take over a look; returns who, what and a style for each thing that is new."""
        news = [*self._arrivals(workers), *self._leases(workers, job_id)]
        self._states = {worker["id"]: _state(worker) for worker in workers}
        return news

    def _arrivals(self, workers: Sequence[Mapping[str, Any]]) -> Iterator[Told]:
        for worker in workers:
            before, now = self._states.get(worker["id"]), _state(worker)
            pid = str(worker["host"]).rpartition(":")[2]
            if before is None:
                yield "scaler", f"misses a worker and starts one: {worker['id']}, process {pid}", "magenta"
            if now == "ready" and before != "ready":
                yield "worker", f"{worker['id']} has loaded its models and is ready", "blue"
            if now == "silent" and before != "silent":
                yield "worker", f"{worker['id']} has missed three heartbeats", "yellow"

    def _leases(self, workers: Sequence[Mapping[str, Any]], job_id: str) -> Iterator[Told]:
        held = next((job for each in workers for job in each["jobs"] if job["id"] == job_id), None)
        if held is None or held["lease_s"] is None:
            return
        before, fence, end = self._lease, int(held["fence"]), time.monotonic() + held["lease_s"]
        self._lease = (fence, end)
        if before is not None and before[0] == fence and end < before[1] - MOVED_S:
            left = f"{held['lease_s']:.1f} s"
            yield (
                "broker",
                f"gave the message to the next worker, which found the row running: {left} left",
                "magenta",
            )


def _state(worker: Mapping[str, Any]) -> str:
    return "silent" if worker["silent"] else str(worker["state"])
