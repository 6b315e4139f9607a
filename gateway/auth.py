"""Who calls: an API key in a header becomes a tenant. Keys never appear in a URL, a log line or a cache."""

from __future__ import annotations

import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

from gateway.ports import Caller, Keys
from gateway.refusals import Unauthorized

CACHE_S = 10.0
"""The longest that a revoked key may go on working."""
CACHE_SIZE = 4096

_KEY = re.compile(r"lev_[A-Za-z0-9_-]{43}")
_SCHEME = "bearer "


class Authenticator:
    """Looks keys up, and remembers for a few seconds the ones somebody holds.

    Unknown keys are not remembered: a key works the moment it is made.
    """

    def __init__(self, keys: Keys, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._keys = keys
        self._clock = clock
        self._known: OrderedDict[bytes, tuple[float, Caller]] = OrderedDict()

    async def caller(self, headers: Mapping[str, str]) -> Caller:
        """The holder of the key in these headers.

        Raises:
            Unauthorized: There is no key, or nobody holds it.
            Unavailable: The store cannot say.
        """
        key = _key_of(headers)
        digest = hashlib.sha256(key.encode()).digest()
        caller = self._remembered(digest)
        if caller is None:
            caller = await self._keys.find(key)
            if caller is None:
                raise Unauthorized("this API key is unknown or was revoked")
            self._remember(digest, caller)
        return caller

    def _remembered(self, digest: bytes) -> Caller | None:
        until, caller = self._known.get(digest, (0.0, None))
        return caller if self._clock() < until else None

    def _remember(self, digest: bytes, caller: Caller) -> None:
        self._known[digest] = (self._clock() + CACHE_S, caller)
        self._known.move_to_end(digest)
        if len(self._known) > CACHE_SIZE:
            self._known.popitem(last=False)


def _key_of(headers: Mapping[str, str]) -> str:
    authorization = headers.get("authorization", "")
    if authorization.lower().startswith(_SCHEME):
        key = authorization[len(_SCHEME) :].strip()
    else:
        key = headers.get("x-api-key", "").strip()
    if not key:
        raise Unauthorized("no API key: send `Authorization: Bearer lev_…` or `X-API-Key`")
    if not key.startswith("lev_"):
        raise Unauthorized("this is no API key: one starts with `lev_`")
    if not _KEY.fullmatch(key):
        raise Unauthorized("this API key is malformed: the whole of one is `lev_` and 43 characters")
    return key
