"""What waits for one subscriber, up to a limit, and whether something was missed before it."""

from __future__ import annotations

import asyncio
from collections import deque

from shared.events import Event, EventType


class StreamEnded(Exception):
    """The stream ends before its job does; the subscriber comes back with its cursor."""


class Draining(StreamEnded):
    """This process is about to stop: resume elsewhere."""


class TooSlow(StreamEnded):
    """The subscriber does not take what it is sent."""


class Inbox:
    """A bounded queue.

    Args:
        capacity: Events that may wait.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._queue: deque[Event] = deque()
        self._missed = False
        self._ended: type[StreamEnded] | None = None
        self._wake = asyncio.Event()

    def push(self, event: Event) -> bool:
        """An event was heard; whether it waits now.

        With the queue full progress is dropped, and anything else ends the stream.
        """
        if len(self._queue) >= self._capacity:
            if event.type is not EventType.PROGRESS:
                self.end(TooSlow)
            return False
        self._queue.append(event)
        self._wake.set()
        return True

    def miss(self) -> None:
        """Something may have been missed."""
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
