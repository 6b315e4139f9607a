"""From the first message to the last: a task per message in hand, and the drain."""

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
    """Takes messages until it is asked to drain, then finishes what fits and gives back the rest."""

    def __init__(self, queue: Queue[D], worker: Acts, *, on_drain: Callable[[], None]) -> None:
        self._queue = queue
        self._worker = worker
        self._on_drain = on_drain
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, draining: asyncio.Event, *, drain_s: float) -> None:
        """Serve; returns when the last job left this worker's hands.

        Raises:
            ExceptionGroup: A message's task failed, which is a defect: nothing was acknowledged for it.
        """
        async with asyncio.TaskGroup() as tasks:
            taking = tasks.create_task(self._take(tasks), name="take")
            await draining.wait()
            self._on_drain()
            taking.cancel()
            await self._queue.stop()
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

    async def _finish(self, drain_s: float) -> None:
        log.info("worker.draining", jobs=len(self._tasks), drain_s=drain_s)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=drain_s)
        if self._tasks:
            self._worker.give_back()
            await asyncio.wait(self._tasks, timeout=RELEASE_S)
        for task in self._tasks:  # PostgreSQL is away: the lease ends by itself and the relay takes over
            task.cancel()
