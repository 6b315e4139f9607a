"""One request to an engine process, and the time that it was at work."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from gpu_worker.engine.output import OutputTail
from gpu_worker.engine.protocol import Frame

_REFUSAL_S = 1.0
"""What an abandoned run may take to be refused, once its turn has come."""


@dataclass(slots=True, eq=False)
class Ask:
    """One request.

    Attributes:
        limit_s: How long it may be in stages, all of them together.
        log: Where what it prints goes.
        on_progress: Called with 0 … 1.
        on_begin: Called when it enters its first stage.
        label: The caller's own.
        together: The labels of all that went to the device with it, where they were several.
        number: On the wire.
        overdue: Its time was up, so its process was killed.
        begun: It has been in a stage.
        abandoned: Canceled while it stood in line: nobody waits for it any more, and a run is to be refused.
    """

    frame: Frame
    limit_s: float
    log: OutputTail = field(default_factory=OutputTail)
    on_progress: Callable[[float], None] | None = None
    on_begin: Callable[[], None] | None = None
    label: object = None
    together: tuple[object, ...] = ()
    number: int = 0
    overdue: bool = False
    begun: bool = False
    abandoned: bool = False
    reply: asyncio.Future[Frame] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    _spent_s: float = 0.0
    _since: float | None = None

    @property
    def inside(self) -> bool:
        """Whether it is in a stage."""
        return self._since is not None

    @property
    def answered(self) -> bool:
        """Whether it has its `done` or `failed`."""
        return self.reply.done() and not self.reply.cancelled() and self.reply.exception() is None

    def enter(self, now: float) -> None:
        """A stage begins with it."""
        if not self.begun and self.on_begin is not None:
            self.on_begin()
        self.begun = True
        self._since = now if self._since is None else self._since

    def leave(self, now: float) -> None:
        """It stands in line again."""
        if self._since is not None:
            self._spent_s += now - self._since
            self._since = None

    def left_s(self, now: float) -> float:
        """How long it may still be in stages; without limit while it stands in line."""
        if self._since is None:
            return math.inf
        refused = self.abandoned and self.frame["op"] == "run"  # an abandoned load is simply done
        limit_s = min(self.limit_s, _REFUSAL_S) if refused else self.limit_s
        return limit_s - self._spent_s - (now - self._since)
