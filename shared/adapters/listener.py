"""The pub/sub side of Redis: one connection that says what it hears, and when it may have missed something.

A connection that fails in any way is thrown away and a new one made; nothing is repaired in place. Each
channel is subscribed and unsubscribed by one task, one command at a time, so that confirmations cannot be
confused.
"""

from __future__ import annotations

import asyncio
import enum
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Protocol
from uuid import UUID

import redis.asyncio as driver
import structlog
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from shared.events import Event, decode
from shared.lifecycle import still_wanted, watched
from shared.settings import Redis

log = structlog.get_logger()

PREFIX = "leveret:events:"
CONTROL = "leveret:control"
"""Ids of jobs whose rows changed under their workers. Always subscribed: a connection without any
subscription may be neither read nor pinged as one."""
PING_EVERY_S = 5.0
SILENCE_S = 5.0
"""How long a ping may stay unanswered before the connection counts as dead."""
REBUILD_AFTER_S = (0.05, 2.0)
"""Shortest and longest wait before a new connection."""


class Sink(Protocol):
    """Who is told. None of these may block: they run between two reads of the connection."""

    def confirmed(self, tenant: str) -> None:
        """From here on nothing of this tenant is missed. A second time means that there was a gap."""

    def received(self, tenant: str, event: Event) -> None:
        """An event of a followed tenant."""

    def lost(self) -> None:
        """The connection is gone: nothing is heard until the next confirmations."""

    def nudged(self, job_id: UUID) -> None:
        """The row of a running job wants to be read by its worker: its end was asked for."""


class _Channel(enum.Enum):
    SUBSCRIBING = enum.auto()
    LIVE = enum.auto()
    UNSUBSCRIBING = enum.auto()


class Listener:
    """Follows tenants over one connection, for ever."""

    def __init__(self, settings: Redis) -> None:
        self._settings = settings
        self._wanted: set[str] = set()
        self._channels: dict[str, _Channel] = {}
        self._changed = asyncio.Event()
        self._heard = asyncio.Event()
        self._worked = False

    def follow(self, tenant: str) -> bool:
        """Ask for a tenant's events.

        Returns:
            True where they are heard already; otherwise `Sink.confirmed` says when they are.
        """
        self._wanted.add(tenant)
        self._changed.set()
        return self._channels.get(tenant) is _Channel.LIVE

    def unfollow(self, tenant: str) -> None:
        """Ask no longer."""
        self._wanted.discard(tenant)
        self._changed.set()

    async def run(self, sink: Sink) -> None:
        """Listen until cancelled, through any number of connections."""
        wait_s, longest_s = REBUILD_AFTER_S
        while True:
            # a task of its own: a group that fails leaves its parent counted as canceled (Python 3.11)
            failure = await asyncio.create_task(self._live(sink), name="listener")
            still_wanted()
            self._channels.clear()
            wait_s = REBUILD_AFTER_S[0] if self._worked else min(2 * wait_s, longest_s)
            log.warning("bus.listener_lost", error=failure, again_in_s=round(wait_s, 3))
            sink.lost()
            await asyncio.sleep(wait_s * (1 + random.random()))  # noqa: S311  jitter, not a secret

    async def _live(self, sink: Sink) -> str:
        """One connection's life; returns why it ended."""
        self._worked = False
        self._changed.set()
        failure = ""
        try:
            async with self._connection() as pubsub, asyncio.TaskGroup() as tasks:
                tasks.create_task(watched("listener.read", partial(self._read, pubsub, sink)))
                tasks.create_task(watched("listener.reconcile", partial(self._reconcile, pubsub)))
                tasks.create_task(watched("listener.ping", partial(self._ping, pubsub)))
        # RuntimeError: where a write fails, the driver connects anew under the reader, and one of them trips.
        except* (RedisError, OSError, RuntimeError, TimeoutError) as errors:
            failure = "; ".join(f"{type(error).__name__}: {error}" for error in errors.exceptions)
        return failure

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[PubSub]:
        client = driver.Redis.from_url(
            self._settings.url.get_secret_value(),
            protocol=2,
            client_name="leveret-listener",
            socket_timeout=self._settings.timeout_s,
            socket_connect_timeout=self._settings.timeout_s,
            # No repair behind our back: a connection that failed is a gap, and gaps are ours to fill.
            retry=Retry(NoBackoff(), 0),
        )
        pubsub = client.pubsub()
        try:
            await self._bounded(pubsub.subscribe(CONTROL))
            yield pubsub
        finally:
            await pubsub.aclose()  # type: ignore[no-untyped-call]
            await client.aclose()

    async def _read(self, pubsub: PubSub, sink: Sink) -> None:
        while True:
            message = await pubsub.get_message(timeout=None)
            if message is None:
                # A dead socket can look like an answer of nothing, at once and for ever.
                raise ConnectionError("an empty read of a blocking connection")
            self._worked = True
            self._heard.set()
            self._dispatch(message, sink)
            await asyncio.sleep(0)

    def _dispatch(self, message: dict[str, Any], sink: Sink) -> None:
        name = _text(message.get("channel"))
        if name == CONTROL and message["type"] == "message":
            _nudge(message["data"], sink)
        if not name.startswith(PREFIX):
            return
        tenant = name.removeprefix(PREFIX)
        match message["type"]:
            case "message":
                _deliver(tenant, message["data"], sink)
            case "subscribe":
                self._channels[tenant] = _Channel.LIVE
                self._changed.set()
                sink.confirmed(tenant)
            case "unsubscribe":
                self._channels.pop(tenant, None)
                self._changed.set()

    async def _reconcile(self, pubsub: PubSub) -> None:
        """Make the subscriptions what is wanted; a channel with an answer outstanding waits for it."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            for tenant in self._wanted - self._channels.keys():
                self._channels[tenant] = _Channel.SUBSCRIBING
                await self._bounded(pubsub.subscribe(channel(tenant)))
            for tenant in self._unwanted():
                self._channels[tenant] = _Channel.UNSUBSCRIBING
                await self._bounded(pubsub.unsubscribe(channel(tenant)))

    def _unwanted(self) -> list[str]:
        live = (tenant for tenant, state in self._channels.items() if state is _Channel.LIVE)
        return [tenant for tenant in live if tenant not in self._wanted]

    async def _ping(self, pubsub: PubSub) -> None:
        """The driver's own health check does not catch a peer that fell silent."""
        while True:
            await asyncio.sleep(PING_EVERY_S)
            self._heard.clear()
            await self._bounded(pubsub.ping())
            async with asyncio.timeout(SILENCE_S):
                await self._heard.wait()

    async def _bounded(self, command: Any) -> None:
        async with asyncio.timeout(self._settings.timeout_s):
            await command


def channel(tenant: str) -> str:
    """Where a tenant's events are published: one channel per tenant, one per job would be a storm."""
    return PREFIX + tenant


def _deliver(tenant: str, body: bytes, sink: Sink) -> None:
    try:
        event = decode(body)
    except ValueError as error:  # whatever else speaks on this channel cannot stop the pushes
        log.warning("bus.undecodable_event", tenant=tenant, error=str(error))
        return
    sink.received(tenant, event)


def _nudge(body: bytes, sink: Sink) -> None:
    try:
        sink.nudged(UUID(_text(body)))
    except ValueError as error:
        log.warning("bus.undecodable_nudge", error=str(error))


def _text(name: bytes | str | None) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else name or ""
