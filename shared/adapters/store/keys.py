"""Tenants and their API keys. A key is shown once; the store keeps its digest."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from uuid_utils.compat import uuid7

from shared.adapters.store.pool import Database

CREATE = """
insert into api_keys (id, tenant, name, role, digest, prefix) values ($1, $2, $3, $4, $5, $6)
"""

ADD_TENANT = "insert into tenants (name) values ($1) on conflict do nothing"

ALLOW = "update tenants set s3_prefixes = $2 where name = $1"

FIND = """
select k.id as key_id, k.tenant, k.name, k.role, t.s3_prefixes
from api_keys k join tenants t on t.name = k.tenant
where k.digest = $1 and k.revoked_at is null
"""

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


class KeyStore:
    """Creates keys and finds who holds one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, tenant: str, name: str, role: Role) -> str:
        """A new key, and its tenant if that is new. The key cannot be read again."""
        key = f"lev_{secrets.token_urlsafe(32)}"
        await self._database.write(ADD_TENANT, tenant)
        await self._database.write(CREATE, uuid7(), tenant, name, role, _digest(key), key[:8])
        return key

    async def find(self, key: str) -> Principal | None:
        """Who holds the key; None when nobody does, or it was revoked."""
        rows = await self._database.read(FIND, _digest(key))
        if not rows:
            return None
        fields = dict(rows[0])
        return Principal(**fields | {"s3_prefixes": tuple(fields["s3_prefixes"])})

    async def allow_prefixes(self, tenant: str, prefixes: list[str]) -> None:
        """Replace the S3 prefixes that the tenant's jobs may name."""
        await self._database.write(ALLOW, tenant, prefixes)


def _digest(key: str) -> bytes:
    """Keys have 256 bits of their own: a slow hash would add cost and no safety."""
    return hashlib.sha256(key.encode()).digest()
