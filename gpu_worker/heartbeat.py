"""Tells the fleet that this worker lives, what it does, and learns whether it shall leave."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Protocol

import structlog

from gpu_worker.ports import Beats, WorkerState
from shared.errors import OutcomeUnknown, Unavailable

log = structlog.get_logger()

BEAT_S = 10.0
MIN_GAP_S = 1.0
"""Becoming busy or idle is told at once, but a stream of short jobs is not told job by job."""


class Work(Protocol):
    """What is told of the work."""

    @property
    def busy(self) -> int:
        """Jobs in hand."""

    @property
    def claims(self) -> int:
        """Jobs claimed since the start."""


class Heartbeat:
    """One row, kept fresh."""

    def __init__(self, store: Beats, work: Work, *, retire: Callable[[], None]) -> None:
        self._store = store
        self._work = work
        self._retire = retire
        self._state: WorkerState = "starting"
        self._changed = asyncio.Event()
        self._told = 0

    def enter(self, state: WorkerState) -> None:
        """The worker's new state, told with the next beat, which comes at once."""
        self._state = state
        self._changed.set()

    async def leave(self) -> None:
        """Tell that the worker is gone."""
        self.enter("gone")
        await self.beat()

    def notice(self) -> None:
        """A job came or went: the scaler wants to know soon."""
        self._changed.set()

    async def run(self) -> None:
        """Beat until cancelled; the beats outlive the work."""
        while True:
            await self.beat()
            await asyncio.sleep(MIN_GAP_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEAT_S - MIN_GAP_S):
                    await self._changed.wait()

    async def beat(self) -> None:
        """Tell once. PostgreSQL being away is no reason to stop working."""
        self._changed.clear()
        claims = self._work.claims
        try:
            if await self._store.beat(self._state, busy=self._busy_since(claims), claims=claims):
                self._retire()
        except (Unavailable, OutcomeUnknown) as error:
            log.warning("heartbeat.failed", reason=str(error))

    def _busy_since(self, claims: int) -> int:
        """Jobs in hand, at least one if any came since the last beat.

        Between two beats a stream of short jobs is never seen in hand: its worker would count as idle all the
        while, and be sent away.
        """
        came, self._told = claims - self._told, claims
        if came and not self._work.busy:
            self._changed.set()  # the next beat tells that it is over
            return 1
        return self._work.busy
