"""One scaler acts: whoever holds the database's advisory lock."""

from __future__ import annotations

import structlog

from scaler.gauges import LEADER
from scaler.ports import Lock
from shared.errors import LeveretError

log = structlog.get_logger()


class Leader:
    """Becomes and stays the leader, or stands by."""

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._leading: bool | None = None

    async def lead(self) -> bool:
        """Whether this scaler leads now; tries to, when nobody does. To be asked at every tick."""
        try:
            leading = await self._lock.held() or await self._lock.acquire()
        except LeveretError as error:
            return self._note(leading=False, why=str(error))
        return self._note(leading=leading, why="" if leading else "another scaler leads")

    async def confirm(self) -> bool:
        """Ask the server once more, just before something is changed."""
        leading = await self._lock.held()
        return self._note(leading=leading, why="" if leading else "the database ended the session")

    def _note(self, *, leading: bool, why: str) -> bool:
        if leading is not self._leading and leading:
            log.info("scaler.leading")
        elif leading is not self._leading:
            log.info("scaler.standing_by", why=why)
        self._leading = leading
        LEADER.set(leading)
        return leading
