"""Calls that may never come back, as those of a driver whose device has fallen off its bus.

A thread of the event loop's own pool would be gone with such a call: the pool is small, files are read and
removed in it, and a process waits for all of it before it ends.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

NAME = "aside"
"""Of the threads."""


class Aside(Generic[T]):
    """One call at a time, in a thread of its own that holds up nobody's end."""

    def __init__(self) -> None:
        self._under_way: asyncio.Future[T] | None = None

    async def answer(self, call: Callable[[], T], *, within_s: float) -> T:
        """What the call returns; that of one that is still under way, where there is one.

        Args:
            call: Blocks.
            within_s: Waited at most. The call itself goes on.

        Raises:
            TimeoutError: It has not come back.
        """
        if self._under_way is None or self._under_way.done():
            self._under_way = _started(call)
        async with asyncio.timeout(within_s):
            return await asyncio.shield(self._under_way)


def _started(call: Callable[[], T]) -> asyncio.Future[T]:
    done: concurrent.futures.Future[T] = concurrent.futures.Future()

    def work() -> None:
        try:
            result = call()
        except Exception as error:  # noqa: BLE001  not swallowed: it is raised again in the caller
            done.set_exception(error)
        else:
            done.set_result(result)

    threading.Thread(target=work, name=NAME, daemon=True).start()
    answer = asyncio.wrap_future(done)
    answer.add_done_callback(_heard)
    return answer


def _heard(answer: asyncio.Future[T]) -> None:
    """Whoever asked may have run out of patience before it failed."""
    if not answer.cancelled():
        answer.exception()
