"""From the first message to the last: a task per message in hand, and the two ways to leave.

A worker that *retires* (the scaler has no more use for it, the cloud advises to move) finishes what it holds,
however long that takes: scaling never stops a busy worker. A worker that *drains* (SIGTERM, the machine goes
away) has a deadline: what will not end in time is given back at once, and at the deadline the rest.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic, Protocol, TypeVar

import structlog

from gpu_worker.departure import RELEASE_S, Departure, Kind
from gpu_worker.ports import Delivery
from shared.lifecycle import watched

log = structlog.get_logger()

LOOK_S = 1.0
"""Between two looks at the jobs in hand and at the deadline, which may have come nearer."""


D = TypeVar("D", bound=Delivery)


class Queue(Protocol[D]):
    """The messages of this worker's queue."""

    async def next(self) -> D:
        """The next one."""

    async def settle(self, delivery: D) -> None:
        """Acknowledge."""

    async def stop(self) -> Sequence[D]:
        """Take no more; returns what arrived meanwhile."""


class Acts(Protocol):
    """What is done with a message."""

    async def act_on(self, delivery: Delivery) -> None:
        """Do what its row asks for; afterwards it may be acknowledged."""

    def give_back(self) -> None:
        """Ask every running job to stop and be queued again."""


class Sifts(Protocol):
    """Who decides which jobs are worth going on with."""

    def sift(self, left_s: float) -> None:
        """Ask those to stop and be queued again that will not end within the seconds left."""


class Server(Generic[D]):
    """Takes messages until it is asked to leave, then finishes what fits and gives back the rest."""

    def __init__(
        self, queue: Queue[D], worker: Acts, handover: Sifts, *, on_leave: Callable[[], None]
    ) -> None:
        self._queue = queue
        self._worker = worker
        self._handover = handover
        self._on_leave = on_leave
        self._tasks: set[asyncio.Task[None]] = set()
        self._told: Kind | None = None

    async def run(self, departure: Departure) -> None:
        """Serve; returns when the last job left this worker's hands.

        Args:
            departure: Says when to leave, and how long there is for it.

        Raises:
            ExceptionGroup: A message's task failed, which is a defect: nothing was acknowledged for it.
        """
        async with asyncio.TaskGroup() as tasks:
            taking = tasks.create_task(watched("take", partial(self._take, tasks)), name="take")
            await departure.asked.wait()
            self._on_leave()
            taking.cancel()
            # before anything is given back: this worker would be the first to be offered it again
            late = await self._queue.stop()
            if departure.left_s > 0:  # nobody else is offered these before this worker has gone
                for delivery in late:
                    self._start(tasks, delivery)
            self._tell(departure)
            await self._finish(departure)
            await self._give_back()

    async def _take(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            self._start(tasks, await self._queue.next())

    def _start(self, tasks: asyncio.TaskGroup, delivery: D) -> None:
        task = tasks.create_task(watched("message", partial(self._serve, delivery)), name="message")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, delivery: D) -> None:
        await self._worker.act_on(delivery)
        await self._queue.settle(delivery)

    async def _finish(self, departure: Departure) -> None:
        while self._tasks and (left_s := departure.left_s) > 0:
            self._tell(departure)
            self._handover.sift(left_s)
            await asyncio.wait(self._tasks, timeout=min(left_s, LOOK_S))

    def _tell(self, departure: Departure) -> None:
        if departure.kind == self._told:
            return
        self._told = departure.kind
        if math.isinf(departure.left_s):
            log.info("worker.retiring", jobs=len(self._tasks), kind=departure.kind)
        else:
            left_s = round(departure.left_s, 3)
            log.info("worker.draining", jobs=len(self._tasks), drain_s=left_s, kind=departure.kind)

    async def _give_back(self) -> None:
        if self._tasks:
            self._worker.give_back()
            await asyncio.wait(self._tasks, timeout=RELEASE_S)
        for task in self._tasks:  # PostgreSQL is away: the lease ends by itself and the relay takes over
            task.cancel()
