"""One lifecycle for every process: signals, then drain, then stop.

The first SIGTERM or SIGINT asks the process to drain; the second one ends it at once. Long-lived work beside
`main` runs as named side tasks: one that fails stops the whole process, because a process that is alive but
no longer consuming, renewing or relaying is the commonest failure of the field.
"""

from __future__ import annotations

import asyncio
import ctypes
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from shared.errors import LeveretError

log = structlog.get_logger()

_LARGE_BYTES = 256 * 1024
_MALLOPT = {-3: _LARGE_BYTES, -1: _LARGE_BYTES, -8: 2}
"""glibc's M_MMAP_THRESHOLD, M_TRIM_THRESHOLD and M_ARENA_MAX (malloc.h)."""

Work = Callable[[], Awaitable[None]]
LoopFactory = Callable[[], asyncio.AbstractEventLoop]


class Lifecycle:
    """What `main` gets: the wish to drain, and a place for side tasks.

    Attributes:
        draining: Set by the first signal, or by `drain`.
    """

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self.draining = asyncio.Event()
        self._tasks = tasks
        self._side: set[asyncio.Task[None]] = set()

    def drain(self) -> None:
        """Ask the process to finish what it holds and stop."""
        self.draining.set()

    def spawn(self, name: str, work: Work) -> asyncio.Task[None]:
        """Run `work` beside main until it ends or main does; its failure stops the process."""
        task = self._tasks.create_task(watched(name, work), name=name)
        self._side.add(task)
        task.add_done_callback(self._side.discard)
        return task

    def cancel_side_tasks(self) -> None:
        """End every side task: main is done and the resources they use are about to close."""
        for task in self._side:
            task.cancel()


Main = Callable[[Lifecycle], Awaitable[None]]


def run(main: Main, *, loop_factory: LoopFactory | None = None) -> int:
    """Run a process to its end.

    Returns:
        The exit code: 0 after a clean stop, 1 when main or a side task failed.
    """
    _give_large_buffers_back()
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(_supervise(main))


def _give_large_buffers_back() -> None:
    """Let freed buffers of large bodies leave the process at once.

    By default glibc raises its threshold to the largest buffer it has seen freed, takes later ones from the
    heaps of as many threads as there are, and keeps those: 70 MB after five uploads.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # another C library's own business
        for name, value in _MALLOPT.items():
            mallopt(name, value)


async def _supervise(main: Main) -> int:
    try:
        async with asyncio.TaskGroup() as tasks:
            lifecycle = Lifecycle(tasks)
            _on_signals(lifecycle, _current_task())
            await main(lifecycle)
            lifecycle.cancel_side_tasks()
    except ExceptionGroup as failures:
        for failure in failures.exceptions:
            _tell(failure)
        return 1
    return 0


def _tell(failure: Exception) -> None:
    """An error of our own tree says all in its message; anything else is a defect and shows where."""
    if isinstance(failure, LeveretError):
        log.error("process.failed", code=failure.code, reason=str(failure))
    else:
        log.error("process.failed", exc_info=failure)


async def watched(name: str, work: Work) -> None:
    """Do the work of one of a task group's tasks, so that its end is never silent.

    A group takes a CancelledError for an end that it asked for, also where a driver raised it, as aiormq
    does in calls that wait on a broker gone silent: the task would be gone, and nobody would know.

    Raises:
        RuntimeError: It was canceled, though nobody had asked for that.
    """
    try:
        await work()
    except asyncio.CancelledError as stray:
        if unwanted():
            raise
        raise RuntimeError(f"the side task {name!r} was canceled by nobody") from stray
    except Exception as failure:
        failure.add_note(f"in the side task {name!r}")
        raise


def unwanted() -> bool:
    """Whether somebody asked for the end of the present task."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def still_wanted() -> None:
    """Raise the CancelledError that a call swallowed; the task would live on for ever, and its process too.

    Before Python 3.12 `asyncio.wait_for`, which aiormq uses, loses a cancellation that arrives together with
    the answer (python/cpython#86296); a task group that fails in just that moment tells of its failures only.
    """
    if unwanted():
        raise asyncio.CancelledError


def _current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("a lifecycle runs inside a task")
    return task


def _on_signals(lifecycle: Lifecycle, process: asyncio.Task[Any]) -> None:
    def received() -> None:
        if lifecycle.draining.is_set():
            process.cancel()
        lifecycle.drain()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, received)
