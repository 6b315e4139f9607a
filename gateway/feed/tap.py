"""One subscriber of all of a tenant's jobs: no history, no cursor; it is told what it may have missed."""

from __future__ import annotations

import asyncio
from collections import deque

from gateway.feed.watch import StreamEnded, TooSlow
from shared.events import Event, EventType

CAPACITY = 2048


class Tap:
    """A bounded queue."""

    def __init__(self) -> None:
        self._queue: deque[Event] = deque()
        self._missed = False
        self._ended: type[StreamEnded] | None = None
        self._wake = asyncio.Event()

    def push(self, event: Event) -> None:
        """An event was heard. With the queue full progress is dropped, and anything else ends the stream."""
        if len(self._queue) >= CAPACITY:
            if event.type is not EventType.PROGRESS:
                self.end(TooSlow)
            return
        self._queue.append(event)
        self._wake.set()

    def begin(self) -> None:
        """From here on it is told everything."""
        self._missed = False

    def miss(self) -> None:
        """The connection was gone for a while."""
        self._missed = True
        self._wake.set()

    def end(self, how: type[StreamEnded]) -> None:
        """End the stream from outside."""
        self._ended = how
        self._wake.set()

    async def next(self) -> Event | None:
        """What was heard next; None where something may have been missed before it.

        Raises:
            StreamEnded: There will be no more of this.
        """
        while True:
            if self._ended is not None:
                raise self._ended
            if self._missed:
                self._missed = False
                return None
            if self._queue:
                return self._queue.popleft()
            self._wake.clear()
            await self._wake.wait()
