"""A law that looks at every waiting job's own time, where production asks the first and the last."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from benchmarks.sim.ours import Decide, Ours
from benchmarks.sim.world import World
from scaler.credit import Times, boot_deadline_s, coming_slot, credit_of, times
from scaler.policy import decide
from scaler.roles import SERVING, Roster, assess
from scaler.snapshot import Config, Decision, Snapshot, Tier, Unknown

LOOKED_AT = 20
"""So many of the waiting jobs, evenly spread, and the last."""


class EveryJob(Ours):
    """The scaler with that law, for jobs of one class.

    Args:
        limits: Its limits and objectives.
        zones: Where it may launch.
        usual: What decides all else.
    """

    def __init__(self, limits: Config, zones: Sequence[str], usual: Decide = decide) -> None:
        super().__init__(limits, zones, rule=self._decide)
        self._usual = usual
        self._ages: list[float] = []

    def turn(self, world: World) -> None:
        """As the one it is derived from, with an eye on every job."""
        self._ages = [world.now - world.queued_at[job] for job in world.queues[Tier.NORMAL]]
        super().turn(world)

    def _decide(self, snapshot: Snapshot, limits: Config, now: float) -> Decision:
        decision = self._usual(snapshot, limits, now)
        if isinstance(snapshot.demand, Unknown) or isinstance(snapshot.machines, Unknown):
            return decision
        workers = () if isinstance(snapshot.workers, Unknown) else snapshot.workers
        expected = times(snapshot.pace, limits)
        deadline_s = boot_deadline_s(expected, limits)
        roster = assess(snapshot.machines, workers, snapshot.broker, limits, deadline_s=deadline_s)
        have, jobs = roster.count(*SERVING), len(self._ages) + snapshot.demand.running
        add = self._missing(roster, snapshot.demand.running, expected, limits)
        target = min(limits.max, max(have, jobs), have + add)
        return replace(decision, launch=max(decision.launch, min(limits.launch_step, target - have)))

    def _missing(self, roster: Roster, running: int, expected: Times, limits: Config) -> int:
        """Workers without which some job is started after its own time."""
        waiting = len(self._ages)
        places = {*range(0, waiting, max(1, waiting // LOOKED_AT)), waiting - 1} if waiting else set[int]()
        return max((self._for(place, roster, running, expected, limits) for place in places), default=0)

    def _for(self, place: int, roster: Roster, running: int, expected: Times, limits: Config) -> int:
        left_s = max(0.0, limits.theta * limits.wait_s[Tier.NORMAL] - self._ages[place])
        credit = credit_of(roster, running, left_s, expected)
        fresh = coming_slot(left_s, expected.service_s, expected.boot_s)
        return max(0, math.ceil((place + 1 - credit) / fresh))
