"""Who calls: an API key in a header, or a browser's session in a cookie, becomes a tenant.

Keys never appear in a URL, a log line or a cache. A session's secret is its cookie, which no script can read;
what it changes needs a second one, derived from it, that only a page of ours can know, and comes from such a
page.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from starlette.requests import cookie_parser

from gateway.origins import Origins
from gateway.ports import Holder, Keys, Sessions
from gateway.refusals import CsrfRefused, Unauthorized

CACHE_S = 10.0
"""The longest that a revoked key, or a session that was ended elsewhere, may go on working."""
CACHE_SIZE = 4096
SESSION_S = 12 * 3600.0
COOKIE = "leveret_session"

_KEY = re.compile(r"lev_[A-Za-z0-9_-]{43}")
_COOKIE = re.compile(r"[A-Za-z0-9_-]{43}")
_SCHEME = "bearer "
_NO_SESSION = "the session is over: log in again"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A browser that is logged in.

    Attributes:
        holder: The key that it logged in with.
        secret: Its cookie.
        csrf: What its changes must say.
        expires_at: When it ends at the latest.
    """

    holder: Holder
    secret: str
    csrf: str
    expires_at: datetime


class Authenticator:
    """Looks up keys and sessions, and remembers for a few seconds what somebody holds.

    What is unknown is not remembered: a key works the moment it is made.

    Args:
        keys: Who holds a key.
        sessions: Who is logged in.
        origins: Whose pages may change something by a session.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        keys: Keys,
        sessions: Sessions | None = None,
        origins: Origins | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys = keys
        self._sessions = sessions
        self._origins = origins
        self._known: _Memory[Holder] = _Memory(clock)
        self._open: _Memory[Session] = _Memory(clock)

    async def caller(self, headers: Mapping[str, str], *, changes: bool = False) -> Holder:
        """The holder of the key in these headers, or of the session in their cookie.

        Args:
            headers: Of the request.
            changes: The request may change something.

        Raises:
            Unauthorized: There is neither, or nobody holds it.
            CsrfRefused: A session's change that none of our pages asked for.
            Unavailable: The store cannot say.
        """
        session = await self.session(headers)
        if session is None:
            return await self._holder(_key_of(headers))
        if changes:
            self._check_own(session, headers)
        return session.holder

    async def session(self, headers: Mapping[str, str]) -> Session | None:
        """The session in the cookie, or None where there is no cookie, or a key goes before it.

        Raises:
            Unauthorized: It is over.
            Unavailable: The store cannot say.
        """
        secret = None if _has_key(headers) else cookie_parser(headers.get("cookie", "")).get(COOKIE)
        if not secret or self._sessions is None:
            return None
        return await self._found(secret)

    async def log_in(self, key: str, headers: Mapping[str, str]) -> Session:
        """A new session for the holder of a key.

        Raises:
            Unauthorized: Nobody holds it.
            CsrfRefused: Another site's page asks.
            OutcomeUnknown: The store's answer was lost: log in again.
        """
        if "origin" in headers and not (self._origins and self._origins.own(headers)):
            raise CsrfRefused("log in on a page of this gateway")
        secret = await self._started(_checked(key.strip()))
        if secret is None:
            raise Unauthorized("this API key is unknown, has ended or was revoked")
        return await self._found(secret)

    async def log_out(self, headers: Mapping[str, str]) -> None:
        """End the session in the cookie, where there is one.

        Raises:
            CsrfRefused: None of our pages asked for it.
            OutcomeUnknown: The store's answer was lost; asking again is safe.
        """
        session = await self.session(headers)
        if session is None or self._sessions is None:
            return
        self._check_own(session, headers)
        await self._sessions.end(session.secret)
        self._open.forget(session.secret)

    async def _holder(self, key: str) -> Holder:
        found = await self._known.get(key, self._keys.find)
        if found is None:
            raise Unauthorized("this API key is unknown or was revoked")
        return found

    async def _started(self, key: str) -> str | None:
        return None if self._sessions is None else await self._sessions.start(key, ttl_s=SESSION_S)

    async def _found(self, secret: str) -> Session:
        found = await self._open.get(secret, self._look_up) if _COOKIE.fullmatch(secret) else None
        if found is None:
            raise Unauthorized(_NO_SESSION)
        return found

    async def _look_up(self, secret: str) -> Session | None:
        row = await self._sessions.find(secret) if self._sessions else None
        if row is None:
            return None
        return Session(holder=row.holder, secret=secret, csrf=csrf_of(secret), expires_at=row.expires_at)

    def _check_own(self, session: Session, headers: Mapping[str, str]) -> None:
        sent = headers.get("x-csrf-token", "").encode("latin-1", "replace")
        if not hmac.compare_digest(sent, session.csrf.encode()):
            raise CsrfRefused("send the session's `csrf` as X-CSRF-Token")
        if not (self._origins and self._origins.own(headers)):
            raise CsrfRefused("this Origin is not the gateway's own")


def csrf_of(secret: str) -> str:
    """What a page must know to change something: it follows from the cookie, and the cookie not from it."""
    digest = hmac.digest(secret.encode(), b"leveret csrf", hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


class _Memory(Generic[T]):
    """What was found lately, by the digest of the secret it was asked for with."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._found: OrderedDict[bytes, tuple[float, T]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._found)

    def __repr__(self) -> str:
        return repr(self._found)

    async def get(self, secret: str, look_up: Callable[[str], Awaitable[T | None]]) -> T | None:
        digest = _digest(secret)
        until, found = self._found.get(digest, (0.0, None))
        if found is not None and self._clock() < until:
            return found
        if (fresh := await look_up(secret)) is not None:
            self._keep(digest, fresh)
        return fresh

    def forget(self, secret: str) -> None:
        self._found.pop(_digest(secret), None)

    def _keep(self, digest: bytes, found: T) -> None:
        self._found[digest] = (self._clock() + CACHE_S, found)
        self._found.move_to_end(digest)
        if len(self._found) > CACHE_SIZE:
            self._found.popitem(last=False)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _has_key(headers: Mapping[str, str]) -> bool:
    return "authorization" in headers or "x-api-key" in headers


def _key_of(headers: Mapping[str, str]) -> str:
    authorization = headers.get("authorization", "")
    if authorization.lower().startswith(_SCHEME):
        key = authorization[len(_SCHEME) :].strip()
    else:
        key = headers.get("x-api-key", "").strip()
    if not key:
        raise Unauthorized("no API key: send `Authorization: Bearer lev_…` or `X-API-Key`")
    return _checked(key)


def _checked(key: str) -> str:
    if not key.startswith("lev_"):
        raise Unauthorized("this is no API key: one starts with `lev_`")
    if not _KEY.fullmatch(key):
        raise Unauthorized("this API key is malformed: the whole of one is `lev_` and 43 characters")
    return key
