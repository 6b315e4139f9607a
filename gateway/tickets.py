"""Tickets for sockets: a browser can send no key with a WebSocket's handshake, and a URL must not hold one.

A ticket opens one socket within a minute, and is worth nothing afterwards. Redis keeps its digest meanwhile.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import msgspec

from gateway.ports import Holder
from gateway.refusals import Unauthorized

TICKET_S = 60

_TICKET = re.compile(r"[A-Za-z0-9_-]{43}")
_OVER = "this ticket is unknown, was used, or is more than a minute old"


class Counter(Protocol):
    """Keeps something until it is taken, once; every call raises Unavailable."""

    async def leave(self, name: str, body: bytes, *, ttl_s: int) -> None:
        """Keep it for a while."""

    async def pick_up(self, name: str) -> bytes | None:
        """Take it, if it is still there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearer:
    """Who a ticket was made for."""

    tenant: str
    name: str
    role: str
    s3_prefixes: tuple[str, ...]
    key_id: UUID


class Tickets:
    """Makes tickets and takes them."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter

    async def issue(self, holder: Holder) -> str:
        """A new ticket for the holder of a key.

        Raises:
            Unavailable: Redis is away.
        """
        ticket = secrets.token_urlsafe(32)
        bearer = Bearer(
            tenant=holder.tenant,
            name=holder.name,
            role=holder.role,
            s3_prefixes=tuple(holder.s3_prefixes),
            key_id=holder.key_id,
        )
        await self._counter.leave(_digest(ticket), msgspec.json.encode(bearer), ttl_s=TICKET_S)
        return ticket

    async def redeem(self, ticket: str) -> Holder:
        """Whoever it was made for; it is gone with this.

        Raises:
            Unauthorized: There is none.
            Unavailable: Redis is away.
        """
        kept = await self._counter.pick_up(_digest(ticket)) if _TICKET.fullmatch(ticket) else None
        if kept is None:
            raise Unauthorized(_OVER)
        return msgspec.json.decode(kept, type=Bearer)


def _digest(ticket: str) -> str:
    return hashlib.sha256(ticket.encode()).hexdigest()
