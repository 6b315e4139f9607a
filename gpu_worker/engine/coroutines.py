"""Async handlers: one event loop for the whole engine process, on a thread of its own. Standard library only.

The loop lives from the first coroutine to the process's end, so that what a handler opened at one job (a
client, a background task) is still good at the next one, whichever thread calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpu_worker.engine.own import OwnProcess

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence


def settled(value: Any) -> Any:
    """A step's own result: what a coroutine returns, anything else as it is.

    Raises:
        BaseException: What the coroutine raised.
    """
    return all_settled([value])[0]


def all_settled(values: list[Any]) -> list[Any]:
    """The same for several, in their order; the coroutines among them run side by side, each to its end.

    Raises:
        BaseException: What the first of them that failed has raised.
    """
    waiting = [value for value in values if inspect.iscoroutine(value)]
    if not waiting:
        return values
    ended = iter(asyncio.run_coroutine_threadsafe(_together(waiting), _loop()).result())
    return [next(ended).get() if inspect.iscoroutine(value) else value for value in values]


@dataclass(frozen=True, slots=True)
class _Ended:
    value: Any = None
    error: BaseException | None = None

    def get(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.value


async def _together(coroutines: Sequence[Coroutine[Any, Any, Any]]) -> list[_Ended]:
    own = OwnProcess()
    return list(await asyncio.gather(*(_watched(coroutine, own) for coroutine in coroutines)))


async def _watched(coroutine: Coroutine[Any, Any, Any], own: OwnProcess) -> _Ended:
    try:
        return _Ended(await coroutine)
    except BaseException as error:  # noqa: BLE001  the execution step: a SystemExit would end the loop for all jobs
        return _Ended(error=error)  # raised by the caller, its traceback without the loop's own frames
    finally:
        own.check()  # the caller's thread is not in a child: it would serve this loop for ever


def _loop() -> asyncio.AbstractEventLoop:
    with (
        _starting
    ):  # two threads may come at once, and a second loop would be a stranger to the first one's clients
        return _started()


_starting = threading.Lock()


@functools.cache
def _started() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=_run, args=(loop,), name="coroutines", daemon=True).start()
    return loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    """For as long as the process lives: a SystemExit in a handler's own task would end the loop for all."""
    while True:
        with contextlib.suppress(BaseException):
            loop.run_forever()
