"""RabbitMQ in memory: priority queues, deliveries in hand, and all the ways to lose or double a message."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import UUID

from shared.adapters.consumer import STEP_S
from shared.errors import Misconfigured, Unavailable
from shared.messages import decode_hint, encode_hint
from tests.machine.wire import Link, Process, Server

T = TypeVar("T")

RECONNECT_S = 1.0
FIRST = 1
"""Slots of a worker that come before everybody's further ones."""


@dataclass(eq=False)
class Message:
    queue: str
    priority: int
    body: bytes
    number: int


@dataclass(eq=False)
class Channel:
    """One session of a consumer; once closed, its acks are lost."""

    open: bool = True
    unacked: list[Message] = field(default_factory=list)


@dataclass(eq=False)
class Held:
    """A message in a worker's hands.

    Attributes:
        rank: Of the worker when it got it.
        first: It took a first slot.
    """

    message: Message
    channel: Channel
    rank: int
    first: bool

    @property
    def body(self) -> bytes:
        return self.message.body


@dataclass(frozen=True)
class Ready:
    ready: int


class Broker:
    """The server itself.

    Args:
        server: On the network.
        delivered: Told of every message handed out.
        acked: Told of every message forgotten because a worker said so.

    Attributes:
        doubling: So many of the next messages are sent twice, by a publisher whose connection broke.
    """

    def __init__(
        self, server: Server, *, delivered: Callable[[Held], None], acked: Callable[[Held], None]
    ) -> None:
        self.server = server
        self.queues: dict[str, list[Message]] = {}
        self.dead: list[bytes] = []
        self.consumers: list[Consumer] = []
        self.sent: list[Message] = []
        self.doubling = 0
        self.ranks = itertools.count()
        self._delivered = delivered
        self._acked = acked

    def declare(self, queues: Iterable[str]) -> None:
        for queue in queues:
            self.queues.setdefault(queue, [])

    def put(self, queue: str, body: bytes, priority: int) -> None:
        message = Message(queue, priority, body, len(self.sent))
        self.sent.append(message)
        if self.doubling:
            self.doubling -= 1
            self.queues[queue].append(message)
        self._add(message)

    def repeat(self, message: Message) -> None:
        """A second copy, or one from long ago."""
        if message.queue in self.queues:
            self._add(message)

    def ready(self) -> list[Message]:
        return [message for queue in sorted(self.queues) for message in self.queues[queue]]

    def lose(self, message: Message) -> None:
        self.queues[message.queue].remove(message)

    def delete(self, queue: str) -> None:
        self.queues.pop(queue, None)
        for consumer in list(self.consumers):
            if consumer.queue == queue:
                consumer.drop(back=False)

    def wipe(self) -> None:
        """It comes back with nothing."""
        for consumer in list(self.consumers):
            consumer.drop(back=False)
        self.queues.clear()
        self.server.session += 1

    def leave(self) -> None:
        self.server.leave()
        for consumer in list(self.consumers):
            consumer.drop(back=True)

    def ack(self, held: Held) -> None:
        held.channel.unacked.remove(held.message)
        self._acked(held)
        self.deliver()

    def requeue(self, messages: list[Message]) -> None:
        for message in messages:
            if message.queue in self.queues:
                self.queues[message.queue].append(message)
                self._sort(message.queue)
        self.deliver()

    def deliver(self) -> None:
        """Hand out what free consumers may have; first slots come first, then who serves longest."""
        for queue, waiting in self.queues.items():
            while waiting and (able := [each for each in self.consumers if each.serves(queue)]):
                consumer = min(able, key=lambda each: each.priority)
                held = consumer.hold(waiting.pop(0))
                self._delivered(held)
                consumer.receive(held)

    def _add(self, message: Message) -> None:
        self.queues[message.queue].append(message)
        self._sort(message.queue)
        self.deliver()

    def _sort(self, queue: str) -> None:
        self.queues[queue].sort(key=lambda message: (-message.priority, message.number))


class Consumer:
    """The worker's end of one queue, which outlives its connections as the real one does."""

    def __init__(self, broker: Broker, process: Process, *, queue: str, slots: int) -> None:
        self.queue = queue
        self.channel = Channel(open=False)
        self._broker = broker
        self._link = Link(process, broker.server)
        self._slots = slots
        self._stopped = False
        self._arrived: asyncio.Queue[Held] = asyncio.Queue()
        self._held: set[Held] = set()
        self._rank = next(broker.ranks)
        self._stepped_at = -STEP_S

    def serves(self, queue: str) -> bool:
        """Whether a message of this queue may come here."""
        return self.queue == queue and not self._stopped and len(self._held) < self._slots

    @property
    def priority(self) -> tuple[bool, int]:
        """The least is served first: slots that compute before those that wait, then who serves longest."""
        present = [held for held in self._held if held.channel is self.channel and held.rank == self._rank]
        first = max(0, FIRST - (len(self._held) - len(present)))
        return sum(held.first for held in present) >= first, self._rank

    def step_down(self) -> None:
        """All others come before this one: new consumers, which know nothing of what is in hand."""
        now = asyncio.get_running_loop().time()
        if now - self._stepped_at >= STEP_S:
            self._stepped_at, self._rank = now, next(self._broker.ranks)

    def hold(self, message: Message) -> Held:
        further, rank = self.priority
        return Held(message, self.channel, rank, first=not further)

    def receive(self, held: Held) -> None:
        self.channel.unacked.append(held.message)
        self._held.add(held)
        self._arrived.put_nowait(held)

    async def next(self) -> Held:
        return await self._arrived.get()

    async def settle(self, delivery: Held) -> None:
        self._held.discard(delivery)
        try:
            await self._link.call(lambda: self._ack(delivery), lost=Unavailable)
        except Unavailable:  # an ack waits for no answer: whatever failed, the connection did
            self.drop(back=True)
        self._broker.deliver()

    async def stop(self) -> list[Held]:
        self._stopped = True
        return [self._arrived.get_nowait() for _ in range(self._arrived.qsize())]

    async def run(self) -> None:
        while True:
            if not self.channel.open:
                self._connect()
            await asyncio.sleep(RECONNECT_S)

    def drop(self, *, back: bool) -> None:
        """The connection is gone; what was not acknowledged goes back into its queue, if that is there."""
        channel, self.channel = self.channel, Channel(open=False)
        channel.open = False
        if self in self._broker.consumers:
            self._broker.consumers.remove(self)
        messages, channel.unacked = channel.unacked, []
        if back:
            self._broker.requeue(messages)

    def _connect(self) -> None:
        process = self._link.process
        reached = not (process.cut or process.dead or self._broker.server.away)
        if reached and process.running.is_set() and self.queue in self._broker.queues:
            self.channel = Channel()
            self._broker.consumers.append(self)
            self._broker.deliver()

    def _ack(self, delivery: Held) -> None:
        if delivery.channel.open and delivery.message in delivery.channel.unacked:
            self._broker.ack(delivery)


class Publisher:
    """One process's publishing connection: it notices queues that are not there and declares them."""

    def __init__(self, broker: Broker, process: Process, queues: Iterable[str]) -> None:
        self._broker = broker
        self._link = Link(process, broker.server)
        self._queues = tuple(queues)
        self._session = -1
        self._vanished: set[str] = set()

    async def publish(self, queue: str, job_id: UUID, *, priority: int, traceparent: str | None) -> None:
        await self._call(lambda: self._put(queue, encode_hint(job_id, traceparent), priority))

    async def dead_letter(self, body: bytes, reason: str) -> None:
        assert reason
        await self._call(lambda: self._broker.dead.append(body))

    async def declare(self, queues: Iterable[str]) -> None:
        await self._call(lambda: None)

    @property
    def refused(self) -> dict[str, Misconfigured]:
        """None is ever declared otherwise."""
        return {}

    async def depth(self, queue: str) -> Ready:
        return await self._call(lambda: self._look(queue))

    def vanished(self) -> list[str]:
        return sorted(self._vanished)

    def forget_vanished(self, queue: str) -> None:
        self._vanished.discard(queue)

    async def _call(self, effect: Callable[[], T]) -> T:
        return await self._link.call(lambda: self._connected(effect), lost=Unavailable)

    def _connected(self, effect: Callable[[], T]) -> T:
        if self._session != self._broker.server.session:
            self._session = self._broker.server.session
            for queue in self._queues:
                self._look(queue)
        return effect()

    def _look(self, queue: str) -> Ready:
        if queue not in self._broker.queues:
            self._broker.queues[queue] = []
            self._vanished.add(queue)
        return Ready(len(self._broker.queues[queue]))

    def _put(self, queue: str, body: bytes, priority: int) -> None:
        self._look(queue)
        self._broker.put(queue, body, priority)


def job_of(message: Message) -> UUID:
    return decode_hint(message.body).job_id
