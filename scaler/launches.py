"""Judging launches: one that comes to nothing is counted, so that the next ones are spaced out."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from scaler.snapshot import Failures, Machine, Unknown, Worker, WorkerState

log = structlog.get_logger()

SETTLED_S = 10.0
"""A machine that lived longer than this with a ready worker was a good launch, whatever ended it."""
ALARMING = 3
"""So many failures in a row are somebody's business, and from then on one machine at a time is tried."""


class Launches:
    """Remembers which machines came to something. In memory: a restarted scaler tries once more at most."""

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self._served: set[str] = set()
        self._judged: set[str] = set()
        self._settled: set[str] = set()
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
        present = {machine.id for machine in machines}
        self._served &= present
        self._judged &= present
        self._settled &= present

    @property
    def most(self) -> int | None:
        """How many may be launched at once; None where nothing speaks against any number."""
        return 1 if self.failures.count >= ALARMING else None

    @property
    def alarms(self) -> tuple[str, ...]:
        """In words that stay the same while it lasts."""
        failing = self.failures.count >= ALARMING
        return (f"{ALARMING} launches in a row or more came to nothing",) if failing else ()

    def failed(self, why: str, now: float, machine: str | None = None) -> None:
        """Count a launch that came to nothing."""
        self.failures = Failures(count=self.failures.count + 1, last_at=now)
        say = log.error if self.failures.count >= ALARMING else log.warning
        say(
            "scaler.launch_failed",
            fleet=self._queue,
            machine=machine,
            why=why,
            in_a_row=self.failures.count,
        )

    def _watch(self, machine: Machine, record: Worker | None, now: float) -> None:
        if record is not None and record.state in (WorkerState.READY, WorkerState.DRAINING):
            self._served.add(machine.id)
        if machine.alive:
            self._settle(machine)
        elif machine.id not in self._judged and not machine.inherited:
            self._judged.add(machine.id)
            self._judge(machine, record, now)

    def _settle(self, machine: Machine) -> None:
        """Once for each machine: one that has served for hours says nothing of today's launches."""
        if machine.id in self._settled or machine.id not in self._served or machine.age_s < SETTLED_S:
            return
        self._settled.add(machine.id)
        if self.failures.count:
            log.info("scaler.launches_work_again", fleet=self._queue, machine=machine.id)
            self.failures = Failures()

    def _judge(self, machine: Machine, record: Worker | None, now: float) -> None:
        asked = record is not None and record.drain
        served = machine.id in self._served and machine.age_s >= SETTLED_S
        if not asked and not served:
            self.failed(machine.exit or "it ended at once", now, machine.id)
