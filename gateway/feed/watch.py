"""One subscriber of one job: what it was sent, what waits for it, and whether it has missed something."""

from __future__ import annotations

import asyncio
from collections import deque
from uuid import UUID

from shared.events import Event, EventType

CAPACITY = 256


class StreamEnded(Exception):
    """The stream ends before its job does; the subscriber comes back with its cursor."""


class Draining(StreamEnded):
    """This process is about to stop: resume elsewhere."""


class TooSlow(StreamEnded):
    """The subscriber does not take what it is sent."""


class Watch:
    """A bounded queue with a memory.

    Attributes:
        cursor: `seq` of the last state event handed out.
        reading: The history is being read; what is pushed meanwhile waits in the queue.
    """

    def __init__(self, job_id: UUID) -> None:
        self.job_id = job_id
        self.cursor = 0
        self.reading = False
        self._started = False
        self._newest = 0
        self._queue: deque[Event] = deque()
        self._missed = False
        self._ended: type[StreamEnded] | None = None
        self._wake = asyncio.Event()

    def start(self, cursor: int, newest: int) -> None:
        """The history is read: begin behind `cursor`; up to `newest` nothing is missing."""
        self.cursor = cursor
        self._newest = max(self._newest, newest)
        self.reading = False
        self._started = True

    def push(self, event: Event) -> None:
        """An event was heard. With the queue full progress is dropped, and anything else ends the stream."""
        if len(self._queue) >= CAPACITY:
            if event.type is not EventType.PROGRESS:
                self.end(TooSlow)
            return
        self._newest = max(self._newest, event.seq)
        self._queue.append(event)
        self._wake.set()

    def judge(self, seq: int) -> bool:
        """Compare with where the job stands; True where something was missed."""
        if not self._started or seq <= self._newest:
            return False
        self.miss()
        return True

    def miss(self) -> None:
        """Something may have been missed: read what lies behind the cursor."""
        self._missed = True
        self._wake.set()

    def fall_back(self) -> None:
        """What was heard could not be handed on in order: only what was handed out counts."""
        self._newest = self.cursor

    def end(self, how: type[StreamEnded]) -> None:
        """End the stream from outside."""
        self._ended = how
        self._wake.set()

    async def next(self) -> Event | None:
        """What was heard next, or None when what was missed has to be read first.

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

    def follows(self, event: Event) -> bool:
        """Whether the event comes right after the last one handed out, or is an old one: no gap before it."""
        ahead = 0 if event.type is EventType.PROGRESS else 1
        return event.seq <= self.cursor + ahead

    def take(self, event: Event) -> bool:
        """Move the cursor past the event; False where it was handed out before.

        Progress repeats the current `seq` and moves nothing.
        """
        if event.type is EventType.PROGRESS:
            return event.seq == self.cursor
        if event.seq <= self.cursor:
            return False
        self.cursor = event.seq
        self._newest = max(self._newest, event.seq)
        return True
