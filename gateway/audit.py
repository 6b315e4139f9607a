"""What people did by hand: every act writes who, when and what, and operators can read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import structlog
from prometheus_client import Counter

from gateway.ports import Caller
from shared.errors import OutcomeUnknown, Unavailable
from shared.events import timestamp

log = structlog.get_logger()

LOST = Counter("leveret_gateway_audit_lost_total", "Acts that could not be written down; the log has them")


class Entry(Protocol):
    """Something that somebody did."""

    @property
    def id(self) -> int:
        """Rises."""

    @property
    def at(self) -> datetime:
        """When, by the database's clock."""

    @property
    def actor(self) -> str:
        """The key, as ``tenant/name``."""

    @property
    def action(self) -> str:
        """``noun.verb``."""

    @property
    def target(self) -> str:
        """To what."""

    @property
    def count(self) -> int | None:
        """To how many jobs."""

    @property
    def detail(self) -> Mapping[str, Any]:
        """The rest."""


class Entries(Protocol):
    """Keeps entries."""

    async def record(
        self, actor: str, action: str, target: str, *, count: int | None, detail: Mapping[str, Any]
    ) -> None:
        """Write one down."""

    async def entries(
        self, *, action: str | None, actor: str | None, before: int | None, limit: int
    ) -> Sequence[Entry]:
        """The latest, newest first."""


class Audit:
    """Writes down what was done and reads it out."""

    def __init__(self, entries: Entries) -> None:
        self._entries = entries

    async def record(
        self,
        caller: Caller | str,
        action: str,
        target: str,
        *,
        count: int | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """Write down an act that has happened. It cannot be undone, so a failure to write does not fail it.

        Args:
            caller: Who did it, or who it was done for, as ``tenant/name``.
            action: ``noun.verb``, as in ``worker.drain``.
            target: To which job, worker, queue, key or action.
            count: To how many jobs.
            detail: What else is worth knowing. No secrets, no payloads.
        """
        actor = caller if isinstance(caller, str) else name_of(caller)
        log.info("operator.acted", by=actor, action=action, target=target, count=count)
        try:
            await self._entries.record(actor, action, target, count=count, detail=detail or {})
        except (Unavailable, OutcomeUnknown) as error:
            LOST.inc()
            log.error("audit.lost", by=actor, action=action, target=target, reason=str(error))  # noqa: TRY400  ours

    async def page(
        self, *, action: str | None, actor: str | None, before: int | None, limit: int
    ) -> dict[str, Any]:
        """A page of entries, newest first.

        Raises:
            Unavailable: PostgreSQL is away.
        """
        found = await self._entries.entries(action=action, actor=actor, before=before, limit=limit + 1)
        page = found[:limit]
        further = str(page[-1].id) if len(found) > limit else None
        return {"entries": [_document(entry) for entry in page], "next_cursor": further}


def name_of(caller: Caller) -> str:
    """Who did something, for those who ask later."""
    return f"{caller.tenant}/{caller.name}"


def _document(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "at": timestamp(entry.at),
        "by": entry.actor,
        "action": entry.action,
        "target": entry.target,
        "count": entry.count,
        "detail": dict(entry.detail),
    }
