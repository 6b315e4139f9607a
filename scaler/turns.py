"""The queues' turns, each on its own: what one of them waits for keeps no other from its look."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from scaler.leader import LeadershipLost

log = structlog.get_logger()

TURN_S = 120.0
"""A turn that takes longer is called off. A cloud may take 40 s for each of two markets' machines; what was
launched without an answer is asked for again with its token."""


class Turns:
    """Those under way, by queue. A queue whose turn goes on gets no second one beside it."""

    def __init__(self) -> None:
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._called_off: set[asyncio.Task[None]] = set()
        self._ending: BaseException | None = None
        self._failed = False

    def begin(self, queue: str, turn: Callable[[], Awaitable[object]], fail: Callable[[str], None]) -> None:
        """Let a queue have its turn, unless its last one goes on.

        Args:
            queue: Whose.
            turn: All of it.
            fail: Is told why, where it came to no end of its own.
        """
        if queue in self._under_way:
            return
        task = asyncio.create_task(_bounded(turn), name=f"turn of {queue}")
        self._under_way[queue] = task
        task.add_done_callback(lambda ended: self._end(queue, ended, fail))

    async def wait(self, within_s: float) -> bool:
        """Wait for so long; whether all have ended as they should. Raises what is to end the process."""
        if self._under_way:
            await asyncio.wait(self._under_way.values(), timeout=within_s)
        if self._ending:
            raise self._ending
        failed, self._failed = self._failed, False
        return not self._under_way and not failed

    async def call_off(self) -> None:
        """End all of them, and return when they have."""
        tasks = list(self._under_way.values())
        self._cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _cancel(self) -> None:
        for task in self._under_way.values():
            self._called_off.add(task)
            task.cancel()

    def _end(self, queue: str, ended: asyncio.Task[None], fail: Callable[[str], None]) -> None:
        """A defect costs its own queue a turn and is told. Who leads no more may change nothing anywhere."""
        del self._under_way[queue]
        asked = ended in self._called_off
        self._called_off.discard(ended)
        error = None if ended.cancelled() else ended.exception()
        if isinstance(error, LeadershipLost):
            self._cancel()
        elif error is not None and not isinstance(error, Exception):
            self._ending = error
        elif error is not None or (ended.cancelled() and not asked):
            self._failed = True
            fail(_why(queue, error))


def _why(queue: str, error: Exception | None) -> str:
    if error is None:  # a driver's own doing
        return "a turn was canceled by nobody"
    if isinstance(error, TimeoutError):
        return f"a turn took longer than {TURN_S:g} s"
    log.error("scaler.turn_failed", fleet=queue, exc_info=error)
    return f"a turn met a defect: {type(error).__name__}"


async def _bounded(turn: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(TURN_S):
        await turn()
