"""Consuming from RabbitMQ: as many unacknowledged messages as there are free slots, never more.

A message stays in hand until `settle`, across reconnects: the work goes on while the broker is away, its ack
is then simply lost, and the row decides what becomes of the message that comes again. After a reconnect the
prefetch is what is free at that moment, so that no message waits behind an hour-long job.

The broker serves the consumer of the highest `x-priority` that has room. So work packs on few workers, and
the others go idle and can be stopped: first come the first slots of all workers, the longest-serving worker's
before the others', then their further slots in the same order. (Round-robin would keep every worker warm.)
Who gives a job back steps down behind all others, or it would be the first to be offered it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field

import structlog
from aiormq.abc import AbstractChannel, ConsumerCallback, DeliveredMessage
from pamqp.common import FieldTable

from shared.adapters.amqp import BROKEN, close, connect, open_channel
from shared.adapters.topology import look_at, queue_name
from shared.errors import Unavailable
from shared.lifecycle import still_wanted
from shared.settings import RabbitMQ

log = structlog.get_logger()

RECONNECT_S = 1.0
LOOK_S = 15.0
PATIENCE_S = 2.0
"""For what needs the broker to take something, and not to answer."""
STEP_S = 5.0
"""Between two steps down: each makes the consumers anew."""
FURTHER = 2**45
"""Milliseconds that no clock will show: what parts first slots from further ones."""


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """A message in hand."""

    body: bytes
    tag: int = field(repr=False)
    consumer: str = field(repr=False)
    channel: AbstractChannel = field(repr=False)


class Consumer:
    """The worker's end of one queue. `run` is a side task; `next` and `settle` are the worker's.

    Args:
        settings: Where the broker is.
        queue: The catalog's name of the queue.
        slots: Messages in hand at most: the prefetch.
        name: Of the worker, in the broker's lists.
        since: When it began to serve, seconds since 1970: who serves longer is given work first.
        first: Slots that compute side by side; the further ones only wait in its line.
    """

    def __init__(
        self, settings: RabbitMQ, *, queue: str, slots: int, name: str, since: float = 0.0, first: int = 1
    ) -> None:
        self._settings = settings
        self._queue = queue_name(queue)
        self._slots = slots
        self._name = f"{name}-consumer"
        self._first = first
        self._since_ms = round(since * 1000)
        self._stepped_at = -STEP_S
        self._subscription: _Subscription | None = None
        self._arrived: asyncio.Queue[Delivery] = asyncio.Queue()
        self._held: set[Delivery] = set()
        self._changed = asyncio.Event()
        self._stopped = asyncio.Event()
        self._quiet = asyncio.Event()
        self.connected = asyncio.Event()

    async def next(self) -> Delivery:
        """The next message; it counts as in hand until it is settled."""
        return await self._arrived.get()

    async def settle(self, delivery: Delivery) -> None:
        """Acknowledge: its row is committed. On a dead channel the ack is lost, and the row knows that."""
        self._held.discard(delivery)
        if self._subscription is None or not self._subscription.counts(delivery):
            self._changed.set()  # a slot of an earlier consumer: the present ones may take another message
        try:
            async with asyncio.timeout(PATIENCE_S):  # the driver's queue of frames has room for ten
                await delivery.channel.basic_ack(delivery.tag, wait=False)
        except BROKEN as error:
            log.info("ack.dropped", reason=type(error).__name__)
            self._leave(delivery.channel)

    def _leave(self, channel: AbstractChannel) -> None:
        """Begin anew: the broker counts the message as in hand until its channel ends, and sends one less."""
        if self._subscription is not None and self._subscription.channel is channel:
            self._subscription.over = "an ack found no way to the broker"
            self._changed.set()

    async def stop(self) -> list[Delivery]:
        """Take no further message; those in hand may still be settled.

        Returns:
            What arrived before the broker knew, and nobody took. Unless it is settled, the broker keeps it
            for this connection until that ends.
        """
        self._stopped.set()
        self._changed.set()
        if self.connected.is_set():
            await _within(PATIENCE_S, self._quiet)
        return [self._arrived.get_nowait() for _ in range(self._arrived.qsize())]

    def step_down(self) -> None:
        """Let all other workers of the queue be served before this one: it has just given a job back."""
        now = time.monotonic()
        if now - self._stepped_at >= STEP_S:
            self._stepped_at = now
            self._since_ms = round(time.time() * 1000)
            self._changed.set()

    async def ping(self) -> None:
        """Raise Unavailable unless connected."""
        if not self.connected.is_set():
            raise Unavailable("RabbitMQ: the consumer is not connected")

    async def run(self) -> None:
        """Keep a session until cancelled; a lost one is replaced after a second."""
        while True:
            try:
                await self._session()
            except Unavailable as error:
                log.warning("consumer.disconnected", reason=str(error))
            finally:
                self.connected.clear()
            still_wanted()
            await asyncio.sleep(RECONNECT_S)

    async def _session(self) -> None:
        connection = await connect(self._settings, name=self._name)
        try:
            async with open_channel(connection) as channel:
                if await look_at(channel, self._queue, timeout_s=self._settings.timeout_s) is None:
                    raise Unavailable(f"the queue {self._queue} is not there: the gateway declares it")
                await self._follow(channel)
        finally:
            await close(connection)

    async def _follow(self, channel: AbstractChannel) -> None:
        """Consume with a prefetch that follows the slots, until the channel or the consumer is gone."""
        subscription = self._subscription = _Subscription(
            channel, self._queue, self._deliver, self._settings.timeout_s
        )
        channel.on_consumer_cancel_callbacks.add(subscription.canceled_by_broker)
        channel.on_consumer_cancel_callbacks.add(self._wake)
        channel.closing.add_done_callback(self._wake)
        self.connected.set()
        while not channel.is_closed:
            self._changed.clear()
            await self._adjust(subscription)
            still_wanted()
            if self._stopped.is_set() and not subscription.tags:
                self._quiet.set()
            if not await _within(LOOK_S, self._changed):
                await self._check_consumer(channel, subscription)
        raise Unavailable("the channel was closed")

    async def _adjust(self, subscription: _Subscription) -> None:
        """Ask for as many messages as there are free slots; messages of earlier consumers take theirs."""
        subscription.check()
        if self._stopped.is_set() or subscription.since_ms != self._since_ms:
            await subscription.cancel()
        if self._stopped.is_set():
            return
        subscription.since_ms = self._since_ms
        taken = sum(not subscription.counts(delivery) for delivery in self._held)
        first = max(0, self._first - taken)
        await subscription.ask(min(first, self._slots - taken), self._slots - taken)

    async def _check_consumer(self, channel: AbstractChannel, subscription: _Subscription) -> None:
        """Alive but not consuming is the commonest failure of the field: ask the broker itself."""
        found = await look_at(channel, self._queue, timeout_s=self._settings.timeout_s)
        if found is None or (subscription.tags and not found.consumer_count):
            raise Unavailable("the broker knows no consumer of this queue")

    def _wake(self, _: object) -> None:
        self._changed.set()

    async def _deliver(self, message: DeliveredMessage) -> None:
        """Only enqueues: a job run in here would be cancelled with the connection."""
        tag = message.delivery_tag
        if tag is None:
            return
        delivery = Delivery(message.body, tag, message.consumer_tag or "", message.channel)
        self._held.add(delivery)
        self._arrived.put_nowait(delivery)


@dataclass(slots=True)
class _Subscription:
    """One channel's consumers, for first slots and for further ones.

    A consumer's prefetch can't be changed, and what a canceled one holds counts for nobody. So more is asked
    for by one more consumer, and less only by canceling them all.

    Attributes:
        since_ms: The rank of its worker: who serves longer comes first. Each has another one.
        tags: Of its consumers.
        first: First slots that are asked for.
        all: Slots that are asked for.
        over: Why they can't be gone on with; empty while they can.
    """

    channel: AbstractChannel
    queue: str
    deliver: ConsumerCallback
    timeout_s: float
    since_ms: int = 0
    tags: list[str] = field(default_factory=list)
    first: int = 0
    all: int = 0
    over: str = ""

    def canceled_by_broker(self, _: object) -> None:
        """The queue was deleted; the next session finds it again."""
        self.over = "the broker canceled the consumer: its queue was deleted"

    def check(self) -> None:
        """Raise Unavailable where these consumers are of no use any more."""
        if self.over:
            raise Unavailable(self.over)

    def counts(self, delivery: Delivery) -> bool:
        """Whether a message is part of what these consumers may hold."""
        return delivery.channel is self.channel and delivery.consumer in self.tags

    async def ask(self, first: int, slots: int) -> None:
        """Let the broker send up to so many messages in all, of them so many for first slots."""
        more_first = min(max(0, first - self.first), slots - self.all)
        await self._consume(more_first, -self.since_ms)
        self.first += more_first
        await self._consume(slots - self.all, -self.since_ms - FURTHER)

    async def cancel(self) -> None:
        """End them all; what they hold may still be settled."""
        for tag in list(self.tags):  # what arrives until the broker knows is theirs still
            await self.channel.basic_cancel(tag, timeout=self.timeout_s)
        self.tags.clear()
        self.first = self.all = 0

    async def _consume(self, more: int, priority: int) -> None:
        if more <= 0:
            return
        await self.channel.basic_qos(prefetch_count=more, timeout=self.timeout_s)
        arguments: FieldTable = {"x-priority": priority}
        answer = await self.channel.basic_consume(
            self.queue, self.deliver, arguments=arguments, timeout=self.timeout_s
        )
        self.tags.append(answer.consumer_tag or "")
        self.all += more


async def _within(seconds: float, event: asyncio.Event) -> bool:
    """Whether the event comes in time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await event.wait()
    return False
