"""Actions on many jobs as callers see them: a draft first, then the word to begin, then progress."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from gateway.audit import Audit, name_of
from gateway.bulk.asked import BulkRequest, confirm_word
from gateway.bulk.ports import Drafts
from gateway.lists.asked import write_cursor
from gateway.ports import Caller
from gateway.refusals import BulkEnded, BulkStarted, BulkTooLarge, ConfirmationNeeded
from shared.errors import NotFound
from shared.events import timestamp
from shared.listing import BulkAction

CONFIRM_FROM = 100
NO_ACTION = "there is no such action"
_CONSEQUENCES = {
    "retry": "Makes {jobs} with the same inputs; the old ones stay as they are.",
    "cancel": "Ends {jobs} for good; what runs is stopped.",
    "prioritise": "Gives {jobs} priority {priority}, as far as they still wait.",
}


class BulkDesk:
    """Takes actions in and tells of them.

    Raises from every method:
        Unavailable: PostgreSQL is away.

    Attributes:
        begun: Set when one was started here, so that nobody waits for the next look.
    """

    def __init__(self, drafts: Drafts, audit: Audit) -> None:
        self._drafts = drafts
        self._audit = audit
        self.begun = asyncio.Event()

    async def create(self, caller: Caller, asked: BulkRequest) -> dict[str, Any]:
        """A draft: which jobs is settled, and nothing is done to them yet.

        Raises:
            EmptyFilter: The filter names nothing.
            BulkTooLarge: It names too many.
            Forbidden: Every tenant's jobs were asked for, with a key of a tenant.
            OutcomeUnknown: The answer was lost; a draft does nothing.
        """
        said = asked.settled()
        made = await self._drafts.create(
            uuid7(),
            said.wanted(caller),
            tenant=caller.tenant,
            action=asked.action,
            said=said.said(),
            priority=asked.priority,
            by=name_of(caller),
        )
        if made is None:
            raise BulkTooLarge("these are more jobs than one action takes: narrow the filter")
        await self._record(caller, "bulk.create", made)
        return document(made)

    async def look(self, caller: Caller, bulk_id: UUID) -> dict[str, Any]:
        """How far it is.

        Raises:
            NotFound: There is none for this caller.
        """
        return document(await self._known(caller, bulk_id))

    async def page(self, caller: Caller, *, before: UUID | None, limit: int) -> dict[str, Any]:
        """The tenant's, newest first."""
        found = await self._drafts.page(caller.tenant, before=before, limit=limit + 1)
        further = write_cursor(found[limit - 1].id) if len(found) > limit else None
        return {"actions": [document(action) for action in found[:limit]], "next_cursor": further}

    async def start(self, caller: Caller, bulk_id: UUID, confirm: str | None) -> dict[str, Any]:
        """Let a draft begin.

        Raises:
            NotFound: There is none for this caller.
            ConfirmationNeeded: It is large, and its word was not said.
            BulkStarted: It is no draft any more.
            OutcomeUnknown: The answer was lost; look, or ask again.
        """
        draft = await self._known(caller, bulk_id)
        word = confirm_word(draft.action, draft.filter)
        if draft.state == "draft" and draft.count >= CONFIRM_FROM and confirm != word:
            raise ConfirmationNeeded(f"this is about {draft.count} jobs: say {word!r} as `confirm`")
        started = await self._drafts.start(bulk_id)
        if started is None:
            raise BulkStarted(f"it is {draft.state} already" if draft.state != "draft" else "it is under way")
        await self._record(caller, "bulk.start", started)
        self.begun.set()
        return document(started)

    async def abort(self, caller: Caller, bulk_id: UUID) -> dict[str, Any]:
        """Take no further step; what is done stays done.

        Raises:
            NotFound: There is none for this caller.
            BulkEnded: It had ended.
            OutcomeUnknown: The answer was lost; asking again is safe.
        """
        known = await self._known(caller, bulk_id)
        aborted = await self._drafts.abort(bulk_id)
        if aborted is None:
            raise BulkEnded(f"it is {known.state} already")
        await self._record(caller, "bulk.abort", aborted)
        return document(aborted)

    async def _known(self, caller: Caller, bulk_id: UUID) -> BulkAction:
        """One of the caller's tenant, or any for an operator. What touches all tenants is for operators."""
        found = await self._drafts.one(bulk_id)
        operator = caller.role == "operator"
        if found is None or not (operator or (found.tenant == caller.tenant and "scope" not in found.filter)):
            raise NotFound(NO_ACTION)
        return found

    async def _record(self, caller: Caller, action: str, of: BulkAction) -> None:
        detail = {"action": of.action, "filter": of.filter, "priority": of.priority}
        await self._audit.record(caller, action, str(of.id), count=of.count, detail=detail)


def document(action: BulkAction) -> dict[str, Any]:
    """An action as the API shows it."""
    needed = action.count >= CONFIRM_FROM
    jobs = f"{action.count} {'new ' if action.action == 'retry' else ''}job{'' if action.count == 1 else 's'}"
    return {
        "id": str(action.id),
        "action": action.action,
        "filter": dict(action.filter),
        "priority": action.priority,
        "count": action.count,
        "left_out": action.left_out,
        "state": action.state,
        "done": action.done,
        "skipped": action.skipped,
        "failed": action.failed,
        "confirm_needed": needed,
        "confirm_word": confirm_word(action.action, action.filter) if needed else None,
        "consequence": _CONSEQUENCES[action.action].format(jobs=jobs, priority=action.priority)
        + _left_out(action.left_out),
        "created_by": action.created_by,
        "created_at": timestamp(action.created_at),
        "started_at": _moment(action.started_at),
        "finished_at": _moment(action.finished_at),
        "error": action.error,
    }


def _left_out(count: int) -> str:
    if count == 0:
        return ""
    return f" Left out: {count} more that {'was' if count == 1 else 'were'} retried before."


def _moment(moment: datetime | None) -> str | None:
    return timestamp(moment) if moment else None
