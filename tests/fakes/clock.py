"""A clock that a test owns: waiting advances it at once."""

from __future__ import annotations

import asyncio


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
