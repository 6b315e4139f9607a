"""Tells the fleet that this worker lives, what it does, and learns whether it shall leave."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

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


class Vitals(Protocol):
    """What is told of the devices."""

    async def report(self) -> dict[str, Any]:
        """As they are now."""

    def loads(self) -> list[dict[str, Any]]:
        """The models loaded of which nobody was told."""

    def told(self, loads: Sequence[dict[str, Any]]) -> None:
        """Somebody was."""


class Heartbeat:
    """One row, kept fresh.

    Args:
        store: Where it is.
        work: What is told of.
        retire: Called when the worker shall leave.
        vitals: Looked at with each beat; None: nothing is told of the devices.
    """

    def __init__(
        self, store: Beats, work: Work, *, retire: Callable[[], None], vitals: Vitals | None = None
    ) -> None:
        self._store = store
        self._work = work
        self._retire = retire
        self._vitals = vitals
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
        report = await self._vitals.report() if self._vitals and self._state != "gone" else None
        self._changed.clear()
        claims = self._work.claims
        busy = self._busy_since(claims)
        try:
            if await self._store.beat(self._state, busy=busy, claims=claims, report=report):
                self._retire()
            await self._tell_loads()
        except (Unavailable, OutcomeUnknown) as error:
            log.warning("heartbeat.failed", reason=str(error))

    async def _tell_loads(self) -> None:
        loads = self._vitals.loads() if self._vitals else []
        if self._vitals and loads:
            await self._store.loaded(loads)
            self._vitals.told(loads)

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
