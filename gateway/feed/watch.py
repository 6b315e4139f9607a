"""One subscriber of one job: what it was sent, what waits for it, and whether it has missed something."""

from __future__ import annotations

from uuid import UUID

from gateway.feed.inbox import Inbox
from shared.events import Event, EventType

CAPACITY = 256


class Watch(Inbox):
    """Remembers what it handed out.

    Attributes:
        cursor: `seq` of the last state event handed out.
        reading: The history is being read; what is pushed meanwhile waits in the queue.
    """

    def __init__(self, job_id: UUID) -> None:
        super().__init__(CAPACITY)
        self.job_id = job_id
        self.cursor = 0
        self.reading = False
        self._started = False
        self._newest = 0

    def start(self, cursor: int, newest: int) -> None:
        """The history is read: begin behind `cursor`; up to `newest` nothing is missing."""
        self.cursor = cursor
        self._newest = max(self._newest, newest)
        self.reading = False
        self._started = True

    def push(self, event: Event) -> bool:
        """As every inbox does, and remember how far was heard."""
        waits = super().push(event)
        if waits:
            self._newest = max(self._newest, event.seq)
        return waits

    def judge(self, seq: int) -> bool:
        """Compare with where the job stands; True where something was missed."""
        if not self._started or seq <= self._newest:
            return False
        self.miss()
        return True

    def fall_back(self) -> None:
        """What was heard could not be handed on in order: only what was handed out counts."""
        self._newest = self.cursor

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
