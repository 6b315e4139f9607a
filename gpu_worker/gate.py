"""Lets jobs into the engines together, or one by itself.

A job whose earlier attempt died with its worker runs alone: if it does it again, it is the only one to blame.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.jobs import Claim


class Gate:
    """Many at a time, or one. Who wants to be alone goes first: those who come after it wait."""

    def __init__(self) -> None:
        self._inside = 0
        self._changed = asyncio.Condition()
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def entered(self, claim: Claim) -> AsyncIterator[None]:
        """Be inside; alone, if that is due to the job."""
        async with self._turn:
            if claim.alone:
                await self._empty()
                yield
                return
            self._inside += 1
        try:
            yield
        finally:
            await self._left()

    async def _empty(self) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._inside == 0)

    async def _left(self) -> None:
        async with self._changed:
            self._inside -= 1
            self._changed.notify_all()
