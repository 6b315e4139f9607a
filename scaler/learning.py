"""What the scaler learns as it goes: how long a job holds a slot, and how long a boot takes, launch to ready.

In memory: a restarted scaler learns the first from the last hour's rows at its first look, the second from
the workers that are there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from statistics import median

import structlog

from scaler.credit import out_of_reach, times
from scaler.ports import ServedRow
from scaler.snapshot import Config, Machine, Pace, Tier, Unknown, Worker, WorkerState

log = structlog.get_logger()

JOBS = 50
"""About so many of the last jobs make the mean; a newcomer's first ones replace the prior at once."""
BOOTS = 9
"""The middle one of so many is what a boot takes: a single one that hangs moves nothing."""


class Mean:
    """A mean that forgets: exponentially weighted, and a plain one until there is enough to forget."""

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._seen = 0
        self.value: float | None = None

    def add(self, value: float, count: int = 1) -> None:
        """Take in the mean of so many new values."""
        self._seen = min(self._memory, self._seen + count)
        before = value if self.value is None else self.value
        self.value = before + min(1.0, count / self._seen) * (value - before)


class Learning:
    """The pace of every queue.

    Args:
        configs: Each fleet's limits, to say once which objective its boots put out of reach.
    """

    def __init__(self, configs: Mapping[str, Config] | None = None) -> None:
        self._configs = configs or {}
        self._services: dict[str, Mean] = {}
        self._boots: dict[str, deque[float]] = {}
        self._booted: dict[str, set[str]] = {}
        self._warned: set[tuple[str, Tier]] = set()
        self.served_until: datetime | None = None
        """Which jobs have been taken in, by the database's clock."""

    def serve(self, rows: Sequence[ServedRow]) -> None:
        """Take in the jobs that ended since the last time."""
        for row in rows:
            self._services.setdefault(row.queue, Mean(JOBS)).add(row.mean_s, row.jobs)
        self.served_until = max((row.until for row in rows), default=self.served_until)

    def watch(
        self, queue: str, machines: Iterable[Machine] | Unknown, workers: Iterable[Worker] | Unknown
    ) -> None:
        """Take in the boots of the workers that became ready since the last time."""
        if isinstance(machines, Unknown) or isinstance(workers, Unknown):
            return
        ready_s = {worker.id: worker.since_s for worker in workers if worker.state is WorkerState.READY}
        alive = {machine.id: machine.age_s for machine in machines if machine.alive}
        known = self._booted.setdefault(queue, set())
        for name in sorted((alive.keys() & ready_s.keys()) - known):
            self._boots.setdefault(queue, deque(maxlen=BOOTS)).append(max(0.0, alive[name] - ready_s[name]))
            known.add(name)
        known &= alive.keys()

    def pace_of(self, queue: str) -> Pace:
        """What is known of a queue by now."""
        service, boots = self._services.get(queue), self._boots.get(queue)
        pace = Pace(service_s=service.value if service else None, boot_s=median(boots) if boots else None)
        if queue in self._configs:
            self._warn(queue, pace, self._configs[queue])
        return pace

    def _warn(self, queue: str, pace: Pace, config: Config) -> None:
        """Once for each class: nobody can do anything about it every 30 s."""
        expected = times(pace, config)
        for tier in out_of_reach(expected, config):
            if (queue, tier) not in self._warned:
                self._warned.add((queue, tier))
                log.warning(
                    "scaler.objective_below_boot",
                    queue=queue,
                    tier=tier.value,
                    wait_s=config.wait_s[tier],
                    boot_s=round(expected.boot_s),
                    help="set min to 1 or more: no first job can start in time from no worker",
                )
