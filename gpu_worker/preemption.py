"""Watches for the notice that EC2 is about to take this spot instance away, and for the advice to leave it.

As the EC2 User Guide has it ("Spot Instance interruption notices", "EC2 instance rebalance recommendations"):

- ``spot/instance-action`` is there once the instance is marked to be stopped, terminated or hibernated;
  before, it is answered 404. It is JSON, ``{"action": "terminate", "time": "2017-09-18T08:22:00Z"}``: about
  when it happens, in UTC, two minutes after the notice. It should be looked for every 5 s.
- A hibernation is told as well, but begins at once: there are no two minutes.
- ``events/recommendations/rebalance`` (``{"noticeTime": …}``, 404 before) says that the instance is at an
  elevated risk. It may come well before the notice, together with it, or not at all.
- All of this is best effort: a machine may go without a word. That costs its jobs what a crash costs them.

Other clouds and Kubernetes end a machine or a pod with SIGTERM, which needs no watcher.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Literal, Protocol

import structlog

from shared.errors import Unavailable

log = structlog.get_logger()

INSTANCE_ACTION = "/latest/meta-data/spot/instance-action"
REBALANCE = "/latest/meta-data/events/recommendations/rebalance"

POLL_S = 5.0
TRIES = 5
"""Looks without any answer after which there is no metadata service here."""
NOTICE_S = 120.0
"""What a notice gives at most, whatever a clock says."""
UNREADABLE_S = 100.0
"""What an interruption gives whose time cannot be read: two minutes, less what a look may come late."""


class Reading(Protocol):
    """An item of the metadata."""

    @property
    def body(self) -> bytes:
        """What it says."""

    @property
    def at(self) -> datetime:
        """When it was said."""


class Metadata(Protocol):
    """Where the instance reads about itself."""

    async def read(self, path: str) -> Reading | None:
        """An item, or None where there is none; raises Unavailable."""


class Leaves(Protocol):
    """Who is told."""

    def gone_in(self, seconds: float) -> None:
        """The machine goes away."""

    def retire(self, kind: Literal["rebalance"]) -> None:
        """It may go away soon: finish what is in hand."""


class Watcher:
    """Looks every five seconds until the interruption is announced.

    Args:
        metadata: Of this instance.
        departure: Who is told.
    """

    def __init__(self, metadata: Metadata, departure: Leaves) -> None:
        self._metadata = metadata
        self._departure = departure
        self._failures = 0
        self._ever_answered = False
        self._advised = False
        self._unreadable: bytes | None = None

    async def run(self) -> None:
        """Watch; returns when there is nothing more to learn, or nobody to ask."""
        while True:
            if await self._over():
                return
            await asyncio.sleep(POLL_S)

    async def _over(self) -> bool:
        try:
            interrupted = await self.look()
        except Unavailable as error:
            return self._failed(error)
        if self._failures and self._ever_answered:
            log.info("preemption.answers_again", failures=self._failures)
        self._failures, self._ever_answered = 0, True
        return interrupted

    async def look(self) -> bool:
        """Look once, and pass on what is new.

        Returns:
            Whether the interruption is announced.

        Raises:
            Unavailable: There was no answer.
        """
        announced = await self._metadata.read(INSTANCE_ACTION)
        if announced is not None and self._heed(announced):
            return True
        if not self._advised and await self._metadata.read(REBALANCE) is not None:
            self._advised = True
            log.warning("preemption.rebalance")
            self._departure.retire("rebalance")
        return False

    def _heed(self, announced: Reading) -> bool:
        action = _action(announced.body)
        if action is None:
            if announced.body != self._unreadable:
                log.warning("preemption.unreadable", body=repr(announced.body[:200]))
            self._unreadable = announced.body
            return False
        left_s = seconds_left(action, announced.at)
        log.warning("preemption.interruption", left_s=round(left_s, 1), **action)
        self._departure.gone_in(left_s)
        return True

    def _failed(self, error: Unavailable) -> bool:
        """Told once; given up where there never was an answer, for then this is no EC2 instance."""
        self._failures += 1
        if self._ever_answered:
            if self._failures == 1:
                log.warning("preemption.no_answer", reason=str(error))
            return False
        if self._failures < TRIES:
            return False
        log.warning("preemption.not_watched", reason=str(error), tries=TRIES)
        return True


def seconds_left(action: dict[str, str], at: datetime) -> float:
    """How long the machine stays, from when it said so: 0 … `NOTICE_S`.

    Args:
        action: ``{"action": …, "time": …}``; an unknown action is taken for an end, as `terminate` is.
        at: When the service said it.
    """
    if action["action"] == "hibernate":
        return 0.0
    try:
        gone = datetime.fromisoformat(action["time"])
    except ValueError:
        return UNREADABLE_S
    gone = gone if gone.tzinfo else gone.replace(tzinfo=UTC)
    return min(NOTICE_S, max(0.0, (gone - at).total_seconds()))


def _action(body: bytes) -> dict[str, str] | None:
    """None where this is no notice: nobody else's error page may end a worker."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, dict) or not isinstance(told.get("action"), str):
        return None
    return {"action": told["action"][:32], "time": str(told.get("time", ""))[:64]}
