"""Publishing to RabbitMQ: confirmed, mandatory, persistent, by priority, on a connection that only publishes.

Under a memory or disk alarm the broker stops reading a connection that has published, so a consumer's acks
must never travel on this one.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from aio_pika.abc import AbstractChannel as Channel
from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel
from aiormq.exceptions import PublishError
from pamqp.commands import Basic

from shared.adapters.amqp import close, connect, open_channel, translated
from shared.adapters.topology import DEAD_LETTERS, declare, look_at, queue_name
from shared.errors import Misconfigured, Unavailable
from shared.messages import encode_hint
from shared.settings import RabbitMQ
from shared.telemetry.conventions import messaging
from shared.telemetry.tracecontext import parse_traceparent
from shared.telemetry.tracing import NOTHING, OFF, Kind, Span, Tracing

PERSISTENT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDepth:
    """What the broker itself counts.

    Attributes:
        ready: Messages that no consumer holds; those in a worker's hands are not in it.
        consumers: Consumers attached.
    """

    ready: int
    consumers: int


@dataclass(frozen=True, slots=True)
class _Session:
    """A connection with its publishing channel: both are kept, or the collector closes the channel."""

    connection: AbstractConnection
    channel: Channel
    underlay: AbstractChannel
    declared: set[str] = field(default_factory=set)
    refused: dict[str, Misconfigured] = field(default_factory=dict)

    @property
    def alive(self) -> bool:
        return not self.underlay.is_closed


class Publisher:
    """One per process. Connects when it is needed and again when the connection is gone."""

    def __init__(self, settings: RabbitMQ, *, name: str, tracing: Tracing = OFF) -> None:
        self._settings = settings
        self._tracing = tracing
        self._name = f"{name}-publisher"
        self._queues = [DEAD_LETTERS]
        self._vanished: set[str] = set()
        self._session: _Session | None = None
        self._opening: asyncio.Task[_Session] | None = None
        self._declaring = asyncio.Lock()

    async def declare(self, queues: Iterable[str]) -> None:
        """Make sure that the catalog's queues are there now and after every reconnect.

        Raises:
            Unavailable: The broker is away; they are declared as soon as it is back.
            Misconfigured: One of them exists with other arguments; the others work.
        """
        self._queues = [DEAD_LETTERS, *(queue_name(queue) for queue in sorted(queues))]
        session = await self._ready()
        for name in self._queues:
            if name in session.refused or name not in session.declared:
                await self._declare_into(session, name)
        for problem in session.refused.values():
            raise problem

    @property
    def refused(self) -> dict[str, Misconfigured]:
        """By the catalog's names, the queues that the present connection met with other arguments."""
        found = self._session.refused if self._session is not None else {}
        return {name.removeprefix(queue_name("")): problem for name, problem in found.items()}

    async def publish(self, queue: str, job_id: UUID, *, priority: int, traceparent: str | None) -> None:
        """Send the hint that a row wants to run; return once the broker has it on disk.

        Raises:
            Unavailable: Not confirmed in time: it may be there or not.
            Misconfigured: The queue exists with other arguments.
        """
        name = queue_name(queue)
        headers = {"traceparent": traceparent} if traceparent else None  # for tools that know no hints
        properties = _properties(priority=priority, headers=headers)
        with self._span(name, job_id, traceparent):
            await self._send(name, encode_hint(job_id, traceparent), properties)

    def _span(self, name: str, job_id: UUID, traceparent: str | None) -> Span:
        """Of one sending: below the span that created the message, and linked to it."""
        if not self._tracing.on or (created := parse_traceparent(traceparent)) is None:
            return NOTHING
        said = messaging("publish", "send", name, job_id)
        return self._tracing.span(
            f"publish {name}", created, kind=Kind.CLIENT, attributes=said, links=(created,)
        )

    async def dead_letter(self, body: bytes, reason: str) -> None:
        """Keep a message that nobody can act on, with the reason, for a person to look at.

        Raises:
            Unavailable: Not confirmed in time.
        """
        await self._send(DEAD_LETTERS, body, _properties(headers={"reason": reason}))

    def vanished(self) -> list[str]:
        """Catalog queues that were not there when they were looked for; they are now.

        Whatever had been published to them is lost.
        """
        return sorted(name.removeprefix(queue_name("")) for name in self._vanished - {DEAD_LETTERS})

    def forget_vanished(self, queue: str) -> None:
        """What was lost with the queue is seen to."""
        self._vanished.discard(queue_name(queue))

    async def depth(self, queue: str) -> QueueDepth:
        """Ask the broker itself, never a cache. A queue of ours that is gone is made anew.

        Raises:
            Unavailable: The broker is away, or has no such queue and this process does not declare it.
        """
        name, timeout_s = queue_name(queue), self._settings.timeout_s
        with translated():
            async with asyncio.timeout(timeout_s):
                connection = (await self._ready()).connection
                async with open_channel(connection) as channel:
                    found = await look_at(channel, name, timeout_s=timeout_s)
                if found is None:
                    await self._make_anew(connection, name)
                    return QueueDepth(ready=0, consumers=0)
        return QueueDepth(ready=found.message_count or 0, consumers=found.consumer_count or 0)

    async def ping(self) -> None:
        """Raise Unavailable unless the broker is connected and answers."""
        with translated():
            async with (
                asyncio.timeout(self._settings.timeout_s),
                open_channel((await self._ready()).connection),
            ):
                return

    async def close(self) -> None:
        """Give up the connection."""
        if self._opening is not None:
            self._opening.cancel()
        await self._drop()

    async def _send(self, name: str, body: bytes, properties: Basic.Properties) -> None:
        with translated():
            async with asyncio.timeout(self._settings.timeout_s):
                session = await self._ready()
                if name in session.refused:
                    raise Misconfigured(str(session.refused[name]))
                try:
                    await _confirmed(session, name, body, properties)
                except PublishError:
                    await self._declare_one(session.connection, name)
                    await _confirmed(session, name, body, properties)

    async def _make_anew(self, connection: AbstractConnection, name: str) -> None:
        if name not in self._queues:  # it is for the process that can publish again to notice
            raise Unavailable(f"RabbitMQ has no queue {name}")
        await self._declare_one(connection, name)

    async def _ready(self) -> _Session:
        if self._session is not None and self._session.alive:
            return self._session
        if self._opening is None:
            self._opening = asyncio.create_task(self._open(), name="broker.connect")
            self._opening.add_done_callback(_heard)
        return await asyncio.shield(self._opening)

    async def _open(self) -> _Session:
        """Shared by every call that waits for it, and ended by none of them."""
        try:
            await self._drop()
            connection = await connect(self._settings, name=self._name)
            try:
                self._session = session = await self._begin(connection)
            except Unavailable:
                await close(connection)
                raise
            return session
        finally:
            self._opening = None

    async def _begin(self, connection: AbstractConnection) -> _Session:
        channel = connection.channel(on_return_raises=True)
        with translated():
            await channel.initialize(timeout=self._settings.timeout_s)
            session = _Session(connection, channel, await channel.get_underlay_channel())
        for name in self._queues:
            await self._declare_into(session, name)
        return session

    async def _declare_into(self, session: _Session, name: str) -> None:
        with translated():
            try:
                await self._declare_one(session.connection, name)
            except Misconfigured as error:
                session.refused[name] = error
            else:
                session.refused.pop(name, None)
        session.declared.add(name)

    async def _declare_one(self, connection: AbstractConnection, name: str) -> None:
        """Where it was missing, somebody deleted it or the broker lost its data: noted once, by the first."""
        timeout_s = self._settings.timeout_s
        async with self._declaring:
            async with open_channel(connection) as channel:
                if await look_at(channel, name, timeout_s=timeout_s):
                    await declare(channel, name, timeout_s=timeout_s)
                    return
            async with open_channel(connection) as channel:  # the miss has spent the other one
                await declare(channel, name, timeout_s=timeout_s)
            self._vanished.add(name)

    async def _drop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await close(session.connection)


def _heard(opening: asyncio.Task[_Session]) -> None:
    """Every caller may have run out of patience before it failed; the next one tries again."""
    if not opening.cancelled():
        opening.exception()


async def _confirmed(session: _Session, name: str, body: bytes, properties: Basic.Properties) -> None:
    properties.message_id = uuid.uuid4().hex  # a returned message is matched by it
    answer = await session.underlay.basic_publish(
        body, routing_key=name, properties=properties, mandatory=True
    )
    if not isinstance(answer, Basic.Ack):
        raise Unavailable(f"RabbitMQ did not take a message for {name}: the queue is full")


def _properties(*, priority: int = 0, headers: dict[str, Any] | None = None) -> Basic.Properties:
    return Basic.Properties(
        delivery_mode=PERSISTENT,
        content_type="application/json",
        priority=priority,
        headers=headers,
    )


@asynccontextmanager
async def open_publisher(
    settings: RabbitMQ, *, name: str, tracing: Tracing = OFF
) -> AsyncIterator[Publisher]:
    """A publisher, closed at the end; it connects at its first use, so the broker may still be away."""
    publisher = Publisher(settings, name=name, tracing=tracing)
    try:
        yield publisher
    finally:
        await publisher.close()
