"""Discrete events: jobs arrive, machines boot, work and leave. Policies look at it every so often and act.

Every worker takes one job at a time. Nothing here knows which policy it is driven by.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from benchmarks.sim.boxes import Box, Tally
from benchmarks.sim.cloud import NOTICE_S, Cloud, price
from benchmarks.sim.workload import Workload
from scaler.offerings import Offering
from scaler.snapshot import Tier

LEASE_S = 90.0
"""So long after its machine died without a word is a job handed out again."""
REMEMBERED_S = 600.0
LEAVE_S = 7200.0
"""What a fleet gets to leave after the last job."""


class Policy(Protocol):
    """What looks and acts."""

    @property
    def interval_s(self) -> float:
        """Between two looks."""

    @property
    def packs(self) -> bool:
        """Whether work goes to the first free worker, and not round and round."""

    def turn(self, world: World) -> None:
        """Look and act once."""
        ...


class World:
    """One run.

    Args:
        workload: What arrives.
        cloud: Where machines come from.
        policy: Who decides.
        seed: Of the cloud's chances.
        watch: Whether to keep the timeline.
    """

    def __init__(
        self, workload: Workload, cloud: Cloud, policy: Policy, *, seed: int = 1, watch: bool = False
    ) -> None:
        self.workload = workload
        self.cloud = cloud
        self.now = 0.0
        self.tally = Tally()
        self.boxes: dict[int, Box] = {}
        self.ended: deque[Box] = deque()
        self.queues: dict[Tier, deque[int]] = {tier: deque() for tier in Tier}
        self.queued_at = list(workload.arrivals)
        self.started: list[float | None] = [None] * len(workload.arrivals)
        self.finished = 0
        self.running = 0
        self.served: list[float] = []
        """Service seconds of the jobs that ended since a policy last took them."""
        self._policy = policy
        self._rng = random.Random(seed)  # noqa: S311  nothing secret: the same draw every time
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._next = 0
        self._watch = watch

    # --- What a policy sees and does.

    @property
    def waiting(self) -> int:
        """Jobs that nobody has."""
        return sum(len(queue) for queue in self.queues.values())

    def oldest_s(self, tier: Tier) -> float:
        """How long the first of a class has been queued."""
        queue = self.queues[tier]
        return self.now - self.queued_at[queue[0]] if queue else 0.0

    def newest_s(self, tier: Tier) -> float:
        """How long the last of a class has been queued."""
        queue = self.queues[tier]
        return self.now - self.queued_at[queue[-1]] if queue else 0.0

    def launch(self, count: int, offerings: Sequence[Offering]) -> tuple[int, set[Offering]]:
        """Ask for machines of any of these; returns how many come, and the offerings that are short."""
        there = [offering for offering in offerings if self.cloud.has(offering, self.now)]
        short = set(offerings) - set(there)
        started = 0
        for _ in range(count):
            chosen = self._rng.choice(there) if there else None
            if chosen is None or self._rng.random() < self.cloud.refuse:
                self.tally.refused += 1
                continue
            self._start(chosen)
            started += 1
        return started, short

    def drain(self, box: Box, *, grace_s: float | None = None, after_s: float = 0.0) -> None:
        """Let a machine finish and leave; after `grace_s` it is ended whatever it does."""
        box.asked = True
        if grace_s is not None:
            self._at(self.now + grace_s, lambda: self._kill(box))
        self._at(self.now + after_s, lambda: self._leave(box))

    def terminate(self, box: Box) -> None:
        """End a machine where nobody works."""
        box.asked = True
        self._kill(box)

    # --- The run.

    def run(self) -> Tally:
        """Until the last job is done and the fleet has left, or had the time to."""
        turn_at, last = 0.0, None
        while last is None or self.now < last + LEAVE_S:
            if self.finished == len(self.started):
                last = self.now if last is None else last
                if not self.boxes:
                    break
            turn_at = self._skip(turn_at)
            self._until(turn_at)
            self._turn()
            turn_at += self._policy.interval_s
        end = self.now if last is None else last
        for box in list(self.boxes.values()):
            self._bill(box, end)
        return self.tally

    def waits(self) -> Iterator[tuple[Tier, float]]:
        """Of each job, its class and how long it waited for its first start."""
        jobs = zip(self.workload.tiers, self.workload.arrivals, self.started, strict=True)
        return ((tier, (self.now if start is None else start) - at) for tier, at, start in jobs)

    def _turn(self) -> None:
        while self.ended and self.now - (self.ended[0].ended or 0.0) > REMEMBERED_S:
            self.ended.popleft()
        self._policy.turn(self)
        self.tally.most = max(self.tally.most, len(self.boxes))
        if self._watch:
            self.tally.timeline.append((self.now, len(self.boxes), self.running, self.waiting))

    def _skip(self, turn_at: float) -> float:
        """An empty world stays empty until the next arrival: no look before it can change anything."""
        if self.boxes or self.running or self.waiting or self._next >= len(self.started):
            return turn_at
        arrival = self.workload.arrivals[self._next]
        turns = max(0, int((arrival - turn_at) // self._policy.interval_s))
        return turn_at + turns * self._policy.interval_s

    def _until(self, end: float) -> None:
        arrivals, events = self.workload.arrivals, self._events
        while True:
            arrival = arrivals[self._next] if self._next < len(arrivals) else float("inf")
            event = events[0][0] if events else float("inf")
            if min(arrival, event) > end:
                break
            if arrival <= event:
                self.now = arrival
                self._arrive()
            else:
                self.now, _, act = heapq.heappop(events)
                act()
        self.now = end

    def _at(self, moment: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (moment, next(self._numbers), act))

    def _arrive(self) -> None:
        job = self._next
        self._next += 1
        self.queues[self.workload.tiers[job]].append(job)
        self._dispatch()

    def _dispatch(self) -> None:
        free = [box for box in self.boxes.values() if box.free] if self.waiting else []
        # By the consumers' priority the first takes it; without, they take turns.
        free.sort(key=lambda box: box.id if self._policy.packs else box.idle_since, reverse=True)
        while free and self.waiting:
            self._take(free.pop())

    def _take(self, box: Box) -> None:
        job = next(queue for queue in self.queues.values() if queue).popleft()
        box.job = job
        self.running += 1
        if self.started[job] is None:
            self.started[job] = self.now
        self._at(self.now + self.workload.services[job], lambda: self._done(box, job))

    def _done(self, box: Box, job: int) -> None:
        if box.job != job or box.ended is not None:
            return
        box.job, box.idle_since = None, self.now
        self.running -= 1
        self.finished += 1
        self.served.append(self.workload.services[job])
        if box.draining:
            self._end(box)
        else:
            self._dispatch()

    def _start(self, offering: Offering) -> None:
        box = Box(next(self._numbers), offering, self.now)
        self.boxes[box.id] = box
        self.tally.launches += 1
        boot_s = self.cloud.boots.draw(self._rng)
        if boot_s is not None:
            self._at(self.now + boot_s, lambda: self._become_ready(box))
        taken_at = self.cloud.taken_at(offering, self.now)
        if taken_at is not None:
            self._at(taken_at, lambda: self._notice(box))
        for outage in self.cloud.outages:
            if outage.zone == offering.zone and outage.start > self.now:
                self._at(outage.start, lambda: self._vanish(box))

    def _become_ready(self, box: Box) -> None:
        if box.ended is None and not box.noticed:
            box.ready_at = box.idle_since = self.now
            self._dispatch()

    def _leave(self, box: Box) -> None:
        """The worker takes no more jobs, finishes the one in hand, and the machine ends."""
        if box.ended is not None or box.draining:
            return
        box.draining = True
        if box.job is None:
            self._end(box)

    def _kill(self, box: Box) -> None:
        if box.ended is not None:
            return
        if box.job is not None:
            self.tally.killed_busy += 1
            self._give_back(box, 0.0)
        self._end(box)

    def _notice(self, box: Box) -> None:
        """Two minutes before it is taken back; what can be finished by then is."""
        if box.ended is None:
            box.noticed = True
            self._at(self.now + NOTICE_S, lambda: self._take_back(box))
            self._leave(box)

    def _take_back(self, box: Box) -> None:
        if box.ended is None:
            if box.job is not None:
                self.tally.taken_busy += 1
                self._give_back(box, 0.0)  # its worker hands the job back before the end
            self._end(box)

    def _vanish(self, box: Box) -> None:
        if box.ended is None:
            if box.job is not None:
                self.tally.taken_busy += 1
                self._give_back(box, LEASE_S)
            self._end(box)

    def _give_back(self, box: Box, after_s: float) -> None:
        job, box.job = box.job, None
        assert job is not None
        self._at(self.now + after_s, lambda: self._queue_again(job))

    def _queue_again(self, job: int) -> None:
        self.running -= 1
        self.queued_at[job] = self.now
        self.queues[self.workload.tiers[job]].appendleft(job)
        self._dispatch()

    def _end(self, box: Box) -> None:
        box.ended = self.now
        del self.boxes[box.id]
        self.ended.append(box)
        self._bill(box, self.now)

    def _bill(self, box: Box, end: float) -> None:
        held_s = max(0.0, end - box.launched)
        self.tally.machine_s += held_s
        self.tally.cost_s += held_s * price(box.offering)
