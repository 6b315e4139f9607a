"""The real clock: monotonic, so that a changed wall clock changes no decision."""

from __future__ import annotations

import asyncio
import contextlib
import time


class MonotonicClock:
    """Satisfies `scaler.ports.Clock`."""

    def now(self) -> float:
        """Seconds since some fixed moment."""
        return time.monotonic()

    async def wait(self, stopping: asyncio.Event, seconds: float) -> None:
        """Return after so long, or at once when `stopping` is set."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await stopping.wait()
