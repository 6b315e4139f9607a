"""Lets jobs into the engines together, or one by itself.

A job whose earlier attempt died with its process runs alone: should it do so again, nobody else is to blame.
It waits until nobody else is inside. The others pass it by meanwhile, since one of those inside may take an
hour; now and then the door is closed for a while, so that a stream of short jobs comes to its end. A message
that arrives at a closed door is not claimed: another worker may run its job.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from shared.jobs import Claim

OPEN_S = 30.0
"""How long others pass by who waits to be alone, before the door is closed to them."""
CLOSED_S = 30.0
"""How long those inside may take to leave, before the door is opened again."""


class Gate:
    """Many at a time, or one."""

    def __init__(self) -> None:
        self._inside = 0
        self._changed = asyncio.Condition()
        self._turn = asyncio.Lock()
        self._door = asyncio.Event()
        self._door.set()

    async def admitted(self) -> None:
        """Wait until the door is open."""
        while not self._door.is_set():  # it may have been closed again since it woke us
            await self._door.wait()

    @asynccontextmanager
    async def entered(self, claim: Claim) -> AsyncIterator[None]:
        """Be inside; alone, if that is due to the job."""
        if claim.alone:
            async with self._alone():
                yield
            return
        await self.admitted()
        self._inside += 1
        try:
            yield
        finally:
            await self._left()

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        async with self._turn:
            try:
                while not await self._empties():
                    self._door.set()
                yield
            finally:
                self._door.set()

    async def _empties(self) -> bool:
        """Wait until nobody is inside, with the door open at first; it is closed when this returns."""
        await self._empty_within(OPEN_S)
        self._door.clear()
        return await self._empty_within(CLOSED_S)

    async def _empty_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._changed:
                return await self._changed.wait_for(lambda: self._inside == 0)
        return False

    async def _left(self) -> None:
        self._inside -= 1  # first: a cancellation may come while the lock is waited for
        async with self._changed:
            self._changed.notify_all()
