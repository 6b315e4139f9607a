"""Judging launches: one that comes to nothing is counted, so that the next ones are spaced out."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from scaler.gauges import LAUNCH_FAILURES
from scaler.snapshot import Failures, Machine, Unknown, Worker, WorkerState

log = structlog.get_logger()

SETTLED_S = 10.0
"""A machine whose worker was seen ready for so long was a good launch, whatever ended it."""
ALARMING = 3
"""So many failures in a row are somebody's business, and from then on one machine at a time is tried."""


class Launches:
    """Remembers which machines came to something. In memory: a restarted scaler tries once more at most."""

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self._ready_at: dict[str, float] = {}
        self._judged: set[str] = set()
        self._settled: set[str] = set()
        self._unproven = 0
        self.failures = Failures()

    def watch(
        self, machines: Sequence[Machine] | Unknown, workers: Sequence[Worker] | Unknown, now: float
    ) -> None:
        """Look at what became of every machine; a part that is unknown is judged later."""
        if isinstance(machines, Unknown) or isinstance(workers, Unknown):
            return
        records = {worker.id: worker for worker in workers}
        for machine in machines:
            self._watch(machine, records.get(machine.id), now)
        self._unproven = sum(machine.alive and machine.id not in self._settled for machine in machines)
        present = {machine.id for machine in machines}
        self._ready_at = {name: at for name, at in self._ready_at.items() if name in present}
        self._judged &= present
        self._settled &= present

    @property
    def most(self) -> int | None:
        """How many may be launched now; None where nothing speaks against any number.

        After failures in a row the next one waits until the last one has come to something or to nothing.
        """
        return max(0, 1 - self._unproven) if self.failures.count >= ALARMING else None

    @property
    def alarms(self) -> tuple[str, ...]:
        """In words that stay the same while it lasts."""
        failing = self.failures.count >= ALARMING
        return (f"{ALARMING} launches in a row or more came to nothing",) if failing else ()

    def failed(self, why: str, now: float, machine: str | None = None) -> None:
        """Count a launch that came to nothing."""
        self.failures = Failures(count=self.failures.count + 1, last_at=now)
        LAUNCH_FAILURES.labels(self._queue).inc()
        say = log.error if self.failures.count >= ALARMING else log.warning
        say(
            "scaler.launch_failed",
            fleet=self._queue,
            machine=machine,
            why=why,
            in_a_row=self.failures.count,
        )

    def _watch(self, machine: Machine, record: Worker | None, now: float) -> None:
        if machine.alive:
            if record is not None and record.state in (WorkerState.READY, WorkerState.DRAINING):
                self._settle(machine.id, now)
        elif machine.id not in self._judged and not machine.inherited:
            self._judged.add(machine.id)
            self._judge(machine, record, now)

    def _settle(self, machine: str, now: float) -> None:
        """Once for each machine: one that has served for hours says nothing of today's launches."""
        if machine in self._settled or now - self._ready_at.setdefault(machine, now) < SETTLED_S:
            return
        self._settled.add(machine)
        if self.failures.count:
            log.info("scaler.launches_work_again", fleet=self._queue, machine=machine)
            self.failures = Failures()

    def _judge(self, machine: Machine, record: Worker | None, now: float) -> None:
        asked = record is not None and record.drain
        if not asked and machine.id not in self._settled:
            self.failed(machine.exit or "it ended at once", now, machine.id)
