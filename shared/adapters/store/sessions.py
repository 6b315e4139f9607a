"""Sessions of browsers: each stands for a key and ends with it. The store keeps the cookie's digest."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime

from shared.adapters.store.keys import Principal, digest_of
from shared.adapters.store.pool import Database

START = """
with swept as (
    delete from sessions where expires_at < clock_timestamp()
)
insert into sessions (digest, key_id, expires_at)
select $1, k.id, least(clock_timestamp() + make_interval(secs => $3), coalesce(k.expires_at, 'infinity'))
from api_keys k
where k.digest = $2 and k.revoked_at is null
  and (k.expires_at is null or k.expires_at > clock_timestamp())
returning expires_at
"""

FIND = """
select k.id as key_id, k.tenant, k.name, k.role, t.s3_prefixes, s.expires_at
from sessions s join api_keys k on k.id = s.key_id join tenants t on t.name = k.tenant
where s.digest = $1 and s.expires_at > clock_timestamp() and k.revoked_at is null
"""

END = "delete from sessions where digest = $1"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """A session that goes on.

    Attributes:
        holder: The key that it stands for.
        expires_at: When it ends at the latest.
    """

    holder: Principal
    expires_at: datetime


class SessionStore:
    """The table `sessions`. Every method raises Unavailable when the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def start(self, key: str, *, ttl_s: float) -> str | None:
        """A new session for the holder of a key; returns its secret, or None where nobody holds the key.

        Raises:
            OutcomeUnknown: The answer was lost: a session that nobody knows may be there.
        """
        secret = secrets.token_urlsafe(32)
        rows = await self._database.write(START, digest_of(secret), digest_of(key), ttl_s)
        return secret if rows else None

    async def find(self, secret: str) -> SessionRow | None:
        """The session; None where there is none, it is over, or its key was revoked."""
        rows = await self._database.read(FIND, digest_of(secret))
        if not rows:
            return None
        fields = dict(rows[0])
        expires_at = fields.pop("expires_at")
        holder = Principal(**fields | {"s3_prefixes": tuple(fields["s3_prefixes"])})
        return SessionRow(holder=holder, expires_at=expires_at)

    async def end(self, secret: str) -> None:
        """End a session; nothing where there is none.

        Raises:
            OutcomeUnknown: The answer was lost; ending it again is safe.
        """
        await self._database.write(END, digest_of(secret))
