"""Nobody is ended for what one look says. It remembers, and asks nobody: no I/O, no clock.

After an outage of the database, or a jump of its clock, every worker's row is old at first, or so old that it
is not read any more, and a scaler that was started meanwhile knows of no gap. So a machine has to be found
without a worker at every look for as long as three heartbeats take.
"""

from __future__ import annotations

from dataclasses import replace

from scaler.observer import SETTLE_S
from scaler.snapshot import Decision, Unknown, Worker, WorkerState
from scaler.words import listed


class SecondLook:
    """Remembers since when each machine has been found to be over.

    Args:
        stale_s: What was seen before a gap between looks that is longer proves nothing.
    """

    def __init__(self, stale_s: float) -> None:
        self._stale_s = stale_s
        self._looked_at = 0.0
        self._since: dict[str, float] = {}

    def confirm(self, decision: Decision, workers: tuple[Worker, ...] | Unknown, now: float) -> Decision:
        """The decision without the ends that it is too early for; who said goodbye needs no proof."""
        known = self._since if now - self._looked_at <= self._stale_s else {}
        self._since = {name: known.get(name, now) for name in decision.terminate}
        self._looked_at = now
        left = () if isinstance(workers, Unknown) else workers
        sure = {worker.id for worker in left if worker.state is WorkerState.GONE}
        sure |= {name for name, since in self._since.items() if now - since >= SETTLE_S}
        early = [name for name in decision.terminate if name not in sure]
        if not early:
            return decision
        due = tuple(name for name in decision.terminate if name in sure)
        why = f"{decision.reason}; not ended before another look: {listed(early)}"
        return replace(decision, terminate=due, reason=why)
