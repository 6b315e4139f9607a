"""A clock that a test owns: waiting advances it at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sized
from typing import Any, TypeVar

T = TypeVar("T")


class FakeClock:
    """Satisfies `scaler.ports.Clock`."""

    def __init__(self, now: float = 1000.0) -> None:
        self.time = now
        self.waits: list[float] = []

    def now(self) -> float:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += seconds

    async def wait(self, stopping: asyncio.Event, seconds: float) -> None:
        await asyncio.sleep(0)
        self.waits.append(seconds)
        if not stopping.is_set():
            self.advance(seconds)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose time a test owns: `sleep` and `timeout` cost none, and the order of turns is fixed.

    Nothing runs but inside `turn`, `settle` and `advance`.
    """

    TURNS_AT_ONE_INSTANT = 20_000
    # asyncio's own, which its type stubs leave out: what is ready now, and what waits for its time.
    _ready: Sized
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self) -> None:
        super().__init__()
        self._virtual_time = 0.0

    def time(self) -> float:
        return self._virtual_time

    def run_in_executor(  # type: ignore[override]  # the stubs' variadic generics gain nothing here
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """At once: a thread would end in its own time."""
        answer: asyncio.Future[T] = self.create_future()
        try:
            answer.set_result(func(*args))
        except Exception as error:  # noqa: BLE001  raised again in the caller
            answer.set_exception(error)
        return answer

    def turn(self) -> None:
        """One iteration: everything that is ready now runs up to its next await."""
        self.call_soon(self.stop)
        self.run_forever()

    def settle(self) -> None:
        """Run until nothing is ready.

        Raises:
            AssertionError: Somebody spins without waiting for anything.
        """
        for _ in range(self.TURNS_AT_ONE_INSTANT):
            if not self._ready:
                return
            self.turn()
        raise AssertionError(f"a hot loop: {self._ready}")

    def advance(self, seconds: float) -> None:
        """Let time pass; every timer on the way fires at its own moment."""
        end = self._virtual_time + seconds
        self.settle()
        while (moment := self._next_timer()) <= end:
            self._virtual_time = max(self._virtual_time, moment)
            self.turn()
            self.settle()
        self._virtual_time = end

    def _next_timer(self) -> float:
        waiting = (timer.when() for timer in self._scheduled if not timer.cancelled())
        return min(waiting, default=float("inf"))
