"""Tenants and their API keys. A key is shown once; the store keeps its digest."""

from __future__ import annotations

import hashlib
import secrets
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from uuid_utils.compat import uuid7

from shared.adapters.store.pool import Database
from shared.errors import OutcomeUnknown, Unavailable

SHOWN = "id, tenant, name, role, prefix, created_at, created_by, last_used_at, expires_at, revoked_at"

CREATE = f"""
with new as (
    insert into api_keys (id, tenant, name, role, digest, prefix, expires_at, created_by)
    values ($1, $2, $3, $4, $5, $6, clock_timestamp() + make_interval(secs => $7::float8), $8)
    returning *
)
select {SHOWN} from new
"""  # noqa: S608  a constant of this module

ADD_TENANT = "insert into tenants (name) values ($1) on conflict do nothing"

ALLOW = "update tenants set s3_prefixes = $2 where name = $1"

FIND = """
select k.id as key_id, k.tenant, k.name, k.role, t.s3_prefixes,
       k.last_used_at is null or k.last_used_at < clock_timestamp() - interval '1 minute' as unmarked
from api_keys k join tenants t on t.name = k.tenant
where k.digest = $1 and k.revoked_at is null
  and (k.expires_at is null or k.expires_at > clock_timestamp())
"""

MARK = """
with off as (select set_config('synchronous_commit', 'off', true))
update api_keys set last_used_at = clock_timestamp() from off
where id = $1 and (last_used_at is null or last_used_at < clock_timestamp() - interval '1 minute')
"""

ANY = """
select exists (select from api_keys where revoked_at is null
               and (expires_at is null or expires_at > clock_timestamp())) as found
"""

LIST = f"select {SHOWN} from api_keys order by id desc limit $1"  # noqa: S608  idem

REVOKE = f"""
update api_keys set revoked_at = coalesce(revoked_at, clock_timestamp()) where id = $1 returning {SHOWN}
"""  # noqa: S608  idem

MAX_LISTED = 1000

Role = Literal["user", "operator"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who calls.

    Attributes:
        name: The key's, to tell keys apart.
        s3_prefixes: ``s3://bucket/prefix/`` addresses this tenant may read inputs from and write outputs to.
    """

    key_id: UUID
    tenant: str
    name: str
    role: Role
    s3_prefixes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRow:
    """What is known of a key.

    Attributes:
        prefix: Its first characters, to tell keys apart.
        created_by: Who made it, as ``tenant/name``; None: somebody at the command line.
        last_used_at: Exact to a minute; None: never.
        expires_at: None: never.
    """

    id: UUID
    tenant: str
    name: str
    role: Role
    prefix: str
    created_at: datetime
    created_by: str | None
    last_used_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None


class KeyStore:
    """Creates keys, lists them, ends them, and finds who holds one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, tenant: str, name: str, role: Role) -> str:
        """A new key, and its tenant if that is new. The key cannot be read again."""
        return (await self.issue(tenant, name, role))[1]

    async def issue(
        self, tenant: str, name: str, role: Role, *, expires_in_s: float | None = None, by: str | None = None
    ) -> tuple[KeyRow, str]:
        """A new key: what is known of it, and the key itself, which cannot be read again.

        Args:
            tenant: Made if it is new.
            name: To tell keys apart.
            role: What it may do.
            expires_in_s: Seconds until it ends; None: never.
            by: Who makes it, as ``tenant/name``.

        Raises:
            OutcomeUnknown: The answer was lost: a key that nobody knows may be there.
        """
        key = f"lev_{secrets.token_urlsafe(32)}"
        await self._database.write(ADD_TENANT, tenant)
        values = (uuid7(), tenant, name, role, digest_of(key), key[:8], expires_in_s, by)
        rows = await self._database.write(CREATE, *values)
        return KeyRow(**dict(rows[0])), key

    async def find(self, key: str) -> Principal | None:
        """Who holds the key; None when nobody does, it has ended, or it was revoked."""
        rows = await self._database.read(FIND, digest_of(key))
        if not rows:
            return None
        fields = dict(rows[0])
        if fields.pop("unmarked"):
            await self._mark(fields["key_id"])
        return Principal(**fields | {"s3_prefixes": tuple(fields["s3_prefixes"])})

    async def any(self) -> bool:
        """Whether there is a key that works."""
        return bool((await self._database.read(ANY))[0]["found"])

    async def listed(self) -> list[KeyRow]:
        """Every key that ever was, newest first; the latest thousand."""
        return [KeyRow(**dict(row)) for row in await self._database.read(LIST, MAX_LISTED)]

    async def revoke(self, key_id: UUID) -> KeyRow | None:
        """End a key, and the sessions that stand for it; None where there is none of that id.

        Raises:
            OutcomeUnknown: The answer was lost; asking again is safe.
        """
        rows = await self._database.write(REVOKE, key_id)
        return KeyRow(**dict(rows[0])) if rows else None

    async def allow_prefixes(self, tenant: str, prefixes: list[str]) -> None:
        """Replace the S3 prefixes that the tenant's jobs may name."""
        await self._database.write(ALLOW, tenant, prefixes)

    async def _mark(self, key_id: UUID) -> None:
        """When it was last used is worth a write, and no caller's failure."""
        with suppress(Unavailable, OutcomeUnknown):
            await self._database.write(MARK, key_id)


def digest_of(secret: str) -> bytes:
    """Keys and cookies have 256 bits of their own: a slow hash would add cost and no safety."""
    return hashlib.sha256(secret.encode()).digest()
