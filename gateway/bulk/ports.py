"""What actions on many jobs need. Nothing here but signatures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from uuid import UUID

from gateway.retry import Repeatable
from gateway.submit import Accepted
from shared.listing import BulkAction, Filter, Tally


class Step(Protocol):
    """A part of an action that this process holds."""

    @property
    def id(self) -> UUID:
        """The action's."""

    @property
    def action(self) -> str:
        """``retry``, ``cancel`` or ``prioritise``."""

    @property
    def priority(self) -> int | None:
        """To set."""

    @property
    def step(self) -> int:
        """Its number."""

    @property
    def created_by(self) -> str:
        """Who made the action."""

    @property
    def again(self) -> bool:
        """What has a retry is meant as well."""

    @property
    def ids(self) -> Sequence[UUID]:
        """The jobs."""


class Drafts(Protocol):
    """Makes actions and lets them begin and end."""

    async def create(
        self,
        bulk_id: UUID,
        wanted: Filter,
        *,
        tenant: str,
        action: str,
        said: Mapping[str, Any],
        priority: int | None,
        by: str,
    ) -> BulkAction | None:
        """A draft; None where the jobs are too many."""

    async def one(self, bulk_id: UUID) -> BulkAction | None:
        """An action, whosever it is."""

    async def page(self, tenant: str, *, before: UUID | None, limit: int) -> Sequence[BulkAction]:
        """A tenant's, newest first."""

    async def start(self, bulk_id: UUID) -> BulkAction | None:
        """Let it begin; None where it is no draft."""

    async def abort(self, bulk_id: UUID) -> BulkAction | None:
        """No further steps; None where it had ended."""


class Steps(Protocol):
    """Hands out steps, one holder each."""

    async def take(self, holder: str) -> Any:
        """A Step to do, or None."""

    async def settle(self, holder: str, step: Any, tally: Tally) -> BulkAction | None:
        """Count it; None where it is not this holder's any more."""

    async def fail(self, holder: str, step: Any, error: str) -> BulkAction | None:
        """End its action by an error; None where it is not this holder's any more."""

    async def let_go(self, holder: str, step: Any) -> None:
        """Another may try it."""

    async def prioritise(self, ids: Sequence[UUID], priority: int) -> int:
        """Set the priority of those that wait; how many these were."""

    async def retried(self, step: Any, ids: Sequence[UUID], prefix: str) -> frozenset[UUID]:
        """Those that were retried, other than since the action began and by a key of this prefix."""

    async def owners(self, ids: Sequence[UUID]) -> Mapping[UUID, str]:
        """By job its tenant."""


class Repeats(Protocol):
    """Makes jobs anew."""

    async def found(self, ids: Sequence[UUID]) -> Sequence[Repeatable]:
        """Those that there are."""

    async def repeat(
        self, old: Repeatable, *, idempotency_key: str | None, traceparent: str | None = None
    ) -> Accepted:
        """A new job like it."""


class Cancels(Protocol):
    """Ends jobs."""

    async def cancel(self, tenant: str, job_id: UUID) -> Mapping[str, Any]:
        """Ask for its end."""
