"""The wish that this worker leaves: whose it is, and how long there is left. Nothing here knows of jobs.

    retire    the scaler has no more use for it, or the cloud advises to move: what is in hand is finished
    within    SIGTERM, an interruption notice, a GPU that is gone: there is a deadline

The nearest deadline counts: a notice may come while a retired worker finishes, a SIGTERM after a notice. A
notice is none of the process's signals: the first SIGTERM after it must not count as the second.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Coroutine
from typing import Any, Literal, get_args

from prometheus_client import Counter

from shared.errors import DeviceMissing

Kind = Literal["scaler", "rebalance", "signal", "interruption", "device"]

NOTICES = Counter("leveret_worker_notices_total", "Wishes that this worker leaves, by kind", ["kind"])
for _kind in get_args(Kind):  # shown as 0 from the start
    NOTICES.labels(_kind)

RELEASE_S = 20.0
"""After the deadline: to stop the runs and commit the releases, also while PostgreSQL is slow."""


class Departure:
    """Stays unset until somebody wants this worker to leave.

    Args:
        clock: Monotonic seconds.

    Attributes:
        asked: Set by the first wish.
        kind: Whose wish counts; None before there is one.
        failure: Why this worker is of no use any more; None for one that leaves in good health.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.asked = asyncio.Event()
        self.kind: Kind | None = None
        self.failure: DeviceMissing | None = None
        self._until = math.inf
        self._counted: set[Kind] = set()

    @property
    def left_s(self) -> float:
        """Seconds until the deadline, below zero after it; infinite while there is none."""
        return self._until - self._clock()

    def retire(self, kind: Kind) -> None:
        """Leave when what is in hand has ended; may be said again and again."""
        self._count(kind)
        self.kind = self.kind or kind
        self.asked.set()

    def within(self, kind: Kind, seconds: float) -> None:
        """Be done with the work in hand so many seconds from now; `RELEASE_S` more are there to give back."""
        self._count(kind)
        until = self._clock() + max(0.0, seconds)
        if until < self._until:
            self._until, self.kind = until, kind
        self.asked.set()

    def gone_in(self, seconds: float) -> None:
        """The machine goes away so many seconds from now: by then everything must be given back."""
        self.within("interruption", seconds - RELEASE_S)

    def fail(self, failure: DeviceMissing, seconds: float) -> None:
        """Every further job would fail here: leave within so many seconds, and not as one that is well."""
        self.failure = failure
        self.within("device", seconds)

    async def unless_asked(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something long at the start, which the wish to leave cuts short.

        Raises:
            DeviceMissing: It found out that there is no device.
        """
        doing = asyncio.ensure_future(work)
        asked = asyncio.ensure_future(self.asked.wait())
        try:
            await asyncio.wait({doing, asked}, return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                doing.result()
        finally:
            asked.cancel()
            doing.cancel()
            await asyncio.wait({doing})
        if self.failure is not None:
            raise self.failure

    def _count(self, kind: Kind) -> None:
        """The scaler repeats its wish with every heartbeat."""
        if kind not in self._counted:
            self._counted.add(kind)
            NOTICES.labels(kind).inc()
