"""From the first message to the last: a task per message in hand, and the two ways to leave.

A worker that *retires* (the scaler has no more use for it) finishes what it holds, however long that takes:
scaling never stops a busy worker. A worker that *drains* (SIGTERM, the machine goes away) has a deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import structlog

from gpu_worker.ports import Delivery

log = structlog.get_logger()

RELEASE_S = 20.0
"""After the drain's deadline: to stop the runs and commit the releases."""


D = TypeVar("D", bound=Delivery)


class Queue(Protocol[D]):
    """The messages of this worker's queue."""

    async def next(self) -> D:
        """The next one."""

    async def settle(self, delivery: D) -> None:
        """Acknowledge."""

    async def stop(self) -> None:
        """Take no more."""


class Acts(Protocol):
    """What is done with a message."""

    async def act_on(self, delivery: Delivery) -> None:
        """Do what its row asks for; afterwards it may be acknowledged."""

    def give_back(self) -> None:
        """Ask every running job to stop and be queued again."""


class Server(Generic[D]):
    """Takes messages until it is asked to leave, then finishes what fits and gives back the rest."""

    def __init__(self, queue: Queue[D], worker: Acts, *, on_leave: Callable[[], None]) -> None:
        self._queue = queue
        self._worker = worker
        self._on_leave = on_leave
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, draining: asyncio.Event, retiring: asyncio.Event, *, drain_s: float) -> None:
        """Serve; returns when the last job left this worker's hands.

        Args:
            draining: Leave within `drain_s` seconds.
            retiring: Leave when what is in hand has ended.
            drain_s: The deadline.

        Raises:
            ExceptionGroup: A message's task failed, which is a defect: nothing was acknowledged for it.
        """
        async with asyncio.TaskGroup() as tasks:
            taking = tasks.create_task(self._take(tasks), name="take")
            await _first_of(draining, retiring)
            self._on_leave()
            taking.cancel()
            await self._queue.stop()
            if not draining.is_set():
                await self._finish_all(draining)
            await self._finish(drain_s)

    async def _take(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            delivery = await self._queue.next()
            task = tasks.create_task(self._serve(delivery), name="message")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, delivery: D) -> None:
        await self._worker.act_on(delivery)
        await self._queue.settle(delivery)

    async def _finish_all(self, draining: asyncio.Event) -> None:
        log.info("worker.retiring", jobs=len(self._tasks))
        hurry = asyncio.create_task(draining.wait(), name="hurry")
        while self._tasks and not hurry.done():
            await asyncio.wait({hurry, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()

    async def _finish(self, drain_s: float) -> None:
        log.info("worker.draining", jobs=len(self._tasks), drain_s=drain_s)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=drain_s)
        if self._tasks:
            self._worker.give_back()
            await asyncio.wait(self._tasks, timeout=RELEASE_S)
        for task in self._tasks:  # PostgreSQL is away: the lease ends by itself and the relay takes over
            task.cancel()


async def _first_of(*events: asyncio.Event) -> None:
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
