"""Redis: finished jobs for quick reads, and events as they happen. Nothing here is the truth.

The only rooms where the redis driver may enter are this one and `listener`, the pub/sub side. Losing Redis
loses no result: readers go to PostgreSQL, and subscribers are resynced from it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

import redis.asyncio as driver
import structlog
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from shared.adapters.batching import Batcher
from shared.adapters.listener import CONTROL, Listener, channel
from shared.errors import OutcomeUnknown, Unavailable
from shared.events import Event, encode
from shared.settings import Redis

log = structlog.get_logger()

SILENCE_S = 2.0
READ_TIMEOUT_S = 0.5
"""A read of a hot result: PostgreSQL answers the same question, so waiting longer gains nothing."""

# One script, so that the kept result and the push cannot come apart, and an older result (a late relay, a
# repeated announcement) never replaces a newer one. The SET is protected: with its memory full Redis refuses
# it, and must still push. Each key has a channel, an event, a result (or nothing) and its seq.
ANNOUNCE = """
local kept = {}
for i, key in ipairs(KEYS) do
    local channel, event, result, seq = unpack(ARGV, 4 * i - 2, 4 * i + 1)
    kept[i] = 1
    if result ~= '' then
        local stored = redis.call('GET', key)
        local known, old = pcall(function() return tonumber(cjson.decode(stored).seq) end)
        if not (stored and known and old and old >= tonumber(seq)) then
            local answer = redis.pcall('SET', key, result, 'EX', ARGV[1])
            if type(answer) == 'table' and answer.err then kept[i] = 0 end
        end
    end
    redis.call('PUBLISH', channel, event)
end
return kept
"""
LEFT = "leveret:left:"
AT_ONCE = 64
"""Announcements in one script: it runs alone in Redis while it runs."""


@dataclass(frozen=True, slots=True)
class _Announcement:
    """One event on its way to a tenant's subscribers."""

    tenant: str
    event: Event
    result: bytes | None

    @property
    def key(self) -> str:
        return job_key(self.tenant, self.event.job_id)

    @property
    def arguments(self) -> tuple[str | bytes | int, ...]:
        return channel(self.tenant), encode(self.event), self.result or b"", self.event.seq


class Bus:
    """What the processes tell each other through Redis. Safe for concurrent use."""

    def __init__(self, settings: Redis, client: driver.Redis) -> None:
        self._settings = settings
        self._client = client
        self._script = client.register_script(ANNOUNCE)
        self._announcements: Batcher[_Announcement, None] = Batcher(self._announce, limit=AT_ONCE)
        self._silent_until = -math.inf

    async def announce(self, tenant: str, event: Event, result: bytes | None = None) -> None:
        """Push an event to the tenant's subscribers and keep a result for quick reads, in one step.

        Calls share a round trip, and are pushed in the order in which they were made.

        Args:
            tenant: Whose job it is.
            event: What happened to it.
            result: The job as the API shows it, as JSON, or None to keep what is there. One that is older
                than the kept one (by `event.seq`) is pushed but not kept.

        Raises:
            Unavailable: Redis did not answer within `timeout_s`; it may or may not have been pushed.
        """
        try:
            await self._announcements.add(_Announcement(tenant, event, result))
        except OutcomeUnknown as error:  # the same to whoever asked: the row tells everybody
            raise Unavailable(str(error)) from error

    async def _announce(self, announcements: Sequence[_Announcement]) -> Sequence[None]:
        arguments: list[str | bytes | int] = [self._settings.result_ttl_s]
        for each in announcements:
            arguments += each.arguments
        async with self._unless_silent(), _translated(self._settings.timeout_s):
            kept = await self._script(keys=[each.key for each in announcements], args=arguments)
        for each, stored in zip(announcements, kept, strict=True):
            if not stored:
                log.warning("bus.result_not_kept", job_id=str(each.event.job_id))
        return [None] * len(announcements)

    async def nudge(self, job_id: UUID) -> None:
        """Tell the worker that runs a job, whichever it is, to read the job's row now.

        Raises:
            Unavailable: Redis did not answer; the worker reads the row with its next renewal.
        """
        async with _translated(self._settings.timeout_s):
            await self._client.publish(CONTROL, str(job_id))

    async def result(self, tenant: str, job_id: UUID) -> bytes | None:
        """The job as the API shows it, as JSON, or None where none is kept.

        Raises:
            Unavailable: Redis did not answer at once; PostgreSQL knows as well.
        """
        async with _translated(min(READ_TIMEOUT_S, self._settings.timeout_s)):
            return cast("bytes | None", await self._client.get(job_key(tenant, job_id)))

    async def leave(self, name: str, body: bytes, *, ttl_s: int) -> None:
        """Keep something until it is picked up, for a while.

        Raises:
            Unavailable: Redis did not answer.
        """
        async with _translated(self._settings.timeout_s):
            await self._client.set(f"{LEFT}{name}", body, ex=ttl_s)

    async def pick_up(self, name: str) -> bytes | None:
        """What was left under a name, once; None where nothing is there (any more).

        Raises:
            Unavailable: Redis did not answer.
        """
        async with _translated(self._settings.timeout_s):
            return cast("bytes | None", await self._client.getdel(f"{LEFT}{name}"))

    async def ping(self) -> None:
        """Ask whether Redis is there.

        Raises:
            Unavailable: It did not answer within `timeout_s`.
        """
        async with _translated(self._settings.timeout_s):
            await cast("Any", self._client.ping())

    @asynccontextmanager
    async def _unless_silent(self) -> AsyncIterator[None]:
        """After one call has waited for nothing, the next ones don't: subscribers have their sweep."""
        now = asyncio.get_running_loop().time
        if now() < self._silent_until:
            raise Unavailable("Redis: silent a moment ago")
        began = now()
        try:
            yield
        except Unavailable:
            if now() - began >= self._settings.timeout_s:
                self._silent_until = now() + SILENCE_S
            raise

    def listener(self) -> Listener:
        """The pub/sub side: one connection of its own. One per process is enough."""
        return Listener(self._settings)


def job_key(tenant: str, job_id: UUID) -> str:
    """Where a job's result is kept."""
    return f"leveret:{tenant}:job:{job_id}"


@asynccontextmanager
async def open_bus(settings: Redis) -> AsyncIterator[Bus]:
    """Open the connections; none is made before the first use, so Redis may still be away."""
    client = driver.Redis.from_url(
        settings.url.get_secret_value(),
        protocol=2,
        socket_timeout=settings.timeout_s,
        socket_connect_timeout=settings.timeout_s,
        # One more try, because a pooled connection may have died unseen since its last use.
        retry=Retry(NoBackoff(), 1),
    )
    try:
        yield Bus(settings, client)
    finally:
        await client.aclose()


@asynccontextmanager
async def _translated(limit_s: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(limit_s):
            yield
    except (RedisError, OSError, TimeoutError) as error:
        raise Unavailable(f"Redis: {type(error).__name__}: {error}".rstrip(": ")) from error
