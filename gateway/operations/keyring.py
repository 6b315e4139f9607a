"""API keys by hand: make one, see who has one, end one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, Protocol
from uuid import UUID

from gateway.audit import Audit, name_of
from gateway.ports import Holder
from shared.errors import NotFound
from shared.events import timestamp

NO_KEY = "there is no such key"
Role = Literal["user", "operator"]


class Known(Protocol):
    """What is known of a key."""

    @property
    def id(self) -> UUID:
        """The key's."""

    @property
    def tenant(self) -> str:
        """Whose it is."""

    @property
    def name(self) -> str:
        """To tell keys apart."""

    @property
    def role(self) -> str:
        """``user`` or ``operator``."""

    @property
    def prefix(self) -> str:
        """Its first characters."""

    @property
    def created_at(self) -> datetime:
        """When it was made."""

    @property
    def created_by(self) -> str | None:
        """Who made it, as ``tenant/name``; None: somebody at the command line."""

    @property
    def last_used_at(self) -> datetime | None:
        """Exact to a minute."""

    @property
    def expires_at(self) -> datetime | None:
        """When it ends by itself."""

    @property
    def revoked_at(self) -> datetime | None:
        """When it was ended."""


class KeyRecords(Protocol):
    """The keys; every call raises Unavailable, those that change something OutcomeUnknown as well."""

    async def listed(self) -> Sequence[Known]:
        """All, newest first."""

    async def issue(
        self, tenant: str, name: str, role: Role, *, expires_in_s: float | None = None, by: str | None = None
    ) -> tuple[Known, str]:
        """A new one, and its secret."""

    async def revoke(self, key_id: UUID) -> Known | None:
        """End one; None where there is none."""


class Keyring:
    """What operators see and do about keys, those of all tenants.

    Args:
        records: The keys.
        audit: Writes down who did what.
    """

    def __init__(self, records: KeyRecords, audit: Audit) -> None:
        self._records = records
        self._audit = audit

    async def keys(self, caller: Holder) -> list[dict[str, Any]]:
        """Every key, the ended ones too, newest first."""
        return [_document(key, caller) for key in await self._records.listed()]

    async def create(
        self, caller: Holder, *, tenant: str | None, name: str, role: Role, expires_in_s: float | None
    ) -> dict[str, Any]:
        """A new key, with its secret, which nobody can read again.

        Raises:
            OutcomeUnknown: The answer was lost: a key that nobody knows may be there. Look, and end it.
        """
        key, secret = await self._records.issue(
            tenant or caller.tenant, name, role, expires_in_s=expires_in_s, by=name_of(caller)
        )
        detail = {"tenant": key.tenant, "name": key.name, "role": key.role}
        await self._audit.record(caller, "key.create", str(key.id), detail=detail)
        return {"key": _document(key, caller), "secret": secret}

    async def revoke(self, caller: Holder, key_id: UUID) -> dict[str, Any]:
        """End a key; whoever uses it is refused within ten seconds.

        Raises:
            NotFound: There is none of that id.
            OutcomeUnknown: The answer was lost; asking again is safe.
        """
        key = await self._records.revoke(key_id)
        if key is None:
            raise NotFound(NO_KEY)
        detail = {"tenant": key.tenant, "name": key.name}
        await self._audit.record(caller, "key.revoke", str(key.id), detail=detail)
        return _document(key, caller)


def _document(key: Known, caller: Holder) -> dict[str, Any]:
    return {
        "id": str(key.id),
        "tenant": key.tenant,
        "name": key.name,
        "role": key.role,
        "prefix": key.prefix,
        "created_at": timestamp(key.created_at),
        "created_by": key.created_by,
        "last_used_at": _moment(key.last_used_at),
        "expires_at": _moment(key.expires_at),
        "revoked_at": _moment(key.revoked_at),
        "mine": key.id == caller.key_id,
    }


def _moment(moment: datetime | None) -> str | None:
    return timestamp(moment) if moment else None
