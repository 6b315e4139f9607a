"""One scaler acts: whoever holds the database's advisory lock."""

from __future__ import annotations

import asyncio

import structlog

from scaler.gauges import LEADER
from scaler.ports import Lock
from shared.errors import LeveretError

log = structlog.get_logger()


class LeadershipLost(Exception):
    """Somebody else may lead by now: nothing may be changed any more."""


class Leader:
    """Becomes and stays the leader, or stands by.

    Args:
        lock: What only one scaler holds.
        acts: False for a dry run, which looks as the leader does and is none.
    """

    def __init__(self, lock: Lock, *, acts: bool = True) -> None:
        self._lock = lock
        self._acts = acts
        self._leading: bool | None = None
        self._asking = asyncio.Lock()
        """The lock's session takes one question at a time, and the queues ask on their own."""

    @property
    def leading(self) -> bool:
        """As of the last question."""
        return bool(self._leading)

    async def lead(self) -> bool:
        """Whether this scaler leads now; tries to, when nobody does. To be asked at every tick."""
        try:
            async with self._asking:
                leading = await self._lock.held() or await self._lock.acquire()
        except LeveretError as error:
            return self._note(leading=False, why=str(error))
        return self._note(leading=leading, why="" if leading else "another scaler leads")

    async def confirm(self) -> None:
        """Ask the server once more, just before something is changed.

        Raises:
            LeadershipLost: This scaler does not lead any more.
        """
        async with self._asking:
            leading = await self._lock.held()
        if not self._note(leading=leading, why="" if leading else "the database ended the session"):
            raise LeadershipLost

    def _note(self, *, leading: bool, why: str) -> bool:
        if leading is not self._leading:
            self._tell(leading=leading, why=why)
        self._leading = leading
        LEADER.set(leading and self._acts)
        return leading

    def _tell(self, *, leading: bool, why: str) -> None:
        if not leading:
            log.info("scaler.standing_by", why=why)
        elif self._acts:
            log.info("scaler.leading")
        else:
            log.info("scaler.only_looking")
