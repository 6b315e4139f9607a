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
        self._note(leading=await self._lock.held() or await self._acquired())
        return bool(self._leading)

    async def confirm(self) -> bool:
        """Ask the server once more, just before something is changed."""
        self._note(leading=await self._lock.held())
        return bool(self._leading)

    async def _acquired(self) -> bool:
        try:
            return await self._lock.acquire()
        except LeveretError:
            return False

    def _note(self, *, leading: bool) -> None:
        if leading is not self._leading:
            log.info("scaler.leading" if leading else "scaler.standing_by")
        self._leading = leading
        LEADER.set(leading)
