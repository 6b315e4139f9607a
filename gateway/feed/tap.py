"""One subscriber of all of a tenant's jobs: no history, no cursor; it is told what it may have missed."""

from __future__ import annotations

from gateway.feed.inbox import Inbox

CAPACITY = 2048


class Tap(Inbox):
    """An inbox for all that is heard of one tenant."""

    def __init__(self) -> None:
        super().__init__(CAPACITY)

    def begin(self) -> None:
        """From here on it is told everything."""
        self._missed = False
