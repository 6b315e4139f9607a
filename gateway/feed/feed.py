"""Who watches which job, and what each is told. Hears from a Listener and reads through Reads."""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from uuid import UUID

import structlog
from prometheus_client import Counter, Gauge, Histogram

from gateway.feed.inbox import Draining, StreamEnded
from gateway.feed.tap import Tap
from gateway.feed.watch import Watch
from gateway.lookup import NO_JOB
from gateway.ports import Listener, Reads
from shared.errors import NotFound, Unavailable
from shared.events import Event, EventType
from shared.lifecycle import watched
from shared.telemetry.tracecontext import parse_traceparent
from shared.telemetry.tracing import NOTHING, OFF, Attributes, Span, Tracing

log = structlog.get_logger()

SWEEP_EVERY_S = 3.0
CONFIRM_WAIT_S = 2.0
"""After this a subscriber is served without Redis: the sweep finds what is not heard."""
SWEEP_BATCH = 1000

WATCHERS = Gauge("leveret_gateway_watchers", "Subscribers of single jobs, sockets and waiting requests alike")
PUSH_LAG = Histogram(
    "leveret_gateway_push_lag_seconds",
    "From an event's commit until a subscriber's socket had taken it",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
MISSED = Counter("leveret_gateway_missed_pushes_total", "Times a subscriber was behind when the sweep asked")


class _Tenant:
    """Who watches jobs of one tenant."""

    def __init__(self) -> None:
        self.heard = asyncio.Event()
        self.watches: defaultdict[UUID, set[Watch]] = defaultdict(set)
        self.taps: set[Tap] = set()

    def all(self) -> Iterator[Watch]:
        return itertools.chain.from_iterable(self.watches.values())

    @property
    def idle(self) -> bool:
        return not self.watches and not self.taps

    def remove(self, watch: Watch) -> None:
        self.watches[watch.job_id].discard(watch)
        if not self.watches[watch.job_id]:
            del self.watches[watch.job_id]


class Stream:
    """The events of one job for one subscriber: iterate it, once.

    Attributes:
        ended: The cursor lay at the end of a job that has ended: nothing will come.
    """

    def __init__(
        self, reads: Reads, tenant: str, watch: Watch, history: list[Event], tracing: Tracing = OFF
    ) -> None:
        self._reads = reads
        self._tracing = tracing
        self._tenant = tenant
        self._watch = watch
        self._history = history
        self._since = datetime.now(UTC)
        last = history[-1]
        self.ended = last.type.terminal and watch.cursor == last.seq

    async def __aiter__(self) -> AsyncIterator[Event]:
        if self.ended:
            return
        pending, self._history = self._history, []
        while True:
            for event in pending:
                if self._watch.take(event):
                    push = self._push(event)
                    yield event
                    push.end()  # whoever asks for the next one has sent this one
                    self._measure(event)
                    if event.type.terminal:
                        return
            pending = await self._next()

    def _push(self, event: Event) -> Span:
        """The span of handing it to the peer; one that is abandoned is never told."""
        if event.traceparent is None:
            return NOTHING
        said: Attributes = {"leveret.job.id": str(event.job_id), "leveret.event.seq": event.seq}
        told = parse_traceparent(event.traceparent)
        return self._tracing.span(f"push {event.type.value}", told, attributes=said, remote=True)

    def _measure(self, event: Event) -> None:
        """What lies before the subscription was not late; progress is told by the worker's own clock."""
        if event.at > self._since and event.type is not EventType.PROGRESS:
            PUSH_LAG.observe(max(0.0, (datetime.now(UTC) - event.at).total_seconds()))

    async def _next(self) -> list[Event]:
        event = await self._watch.next()
        if event is not None and self._watch.follows(event):
            return [event]
        try:
            return await self._reads.events(self._tenant, self._watch.job_id, self._watch.cursor)
        except Unavailable as error:  # the sweep asks again until PostgreSQL is back
            log.warning("stream.behind", job_id=str(self._watch.job_id), reason=str(error))
            self._watch.fall_back()
            return []


class Feed:
    """Hands events to subscribers; a Sink for the Listener."""

    def __init__(self, reads: Reads, listener: Listener, *, tracing: Tracing = OFF) -> None:
        self._reads = reads
        self._tracing = tracing
        self._listener = listener
        self._tenants: dict[str, _Tenant] = {}
        self._stale: set[str] = set()
        self._wake = asyncio.Event()
        self._all_at = 0.0
        self._draining = False

    async def run(self) -> None:
        """Listen and sweep, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(watched("feed.listen", partial(self._listener.run, self)))
            tasks.create_task(watched("feed.sweep", self._sweep_for_ever))

    def drain(self) -> None:
        """End every stream: their subscribers resume at another replica."""
        self._draining = True
        for watch in self._watches(self._tenants):
            watch.end(Draining)
        for known in self._tenants.values():
            for tap in known.taps:
                tap.end(Draining)

    @asynccontextmanager
    async def watch(
        self, tenant: str, job_id: UUID, after: int, *, pushes: bool = True
    ) -> AsyncIterator[Stream]:
        """Subscribe to a job.

        Args:
            tenant: Whose job it must be.
            job_id: The job.
            after: `seq` of the last event the subscriber has; beyond the job's own it counts as 0.
            pushes: Whoever asks for the next event has sent the last one to somebody: each is traced.

        Raises:
            NotFound: This tenant has no such job.
            Unavailable: PostgreSQL is away.
            Draining: This process is about to stop.
        """
        if self._draining:
            raise Draining
        watch = Watch(job_id)
        watchers = self._register(tenant, watch)
        try:
            await self._heard(watchers)
            history = await self._history(tenant, watch, after)
            yield Stream(self._reads, tenant, watch, history, self._tracing if pushes else OFF)
        finally:
            watchers.remove(watch)
            WATCHERS.dec()

    @asynccontextmanager
    async def tap(self, tenant: str) -> AsyncIterator[Tap]:
        """Subscribe to all of a tenant's jobs, from now on.

        Raises:
            Unavailable: Redis is away, and nothing else can tell of all.
            Draining: This process is about to stop.
        """
        if self._draining:
            raise Draining
        tap, known = Tap(), self._known(tenant)
        known.taps.add(tap)
        try:
            await self._heard(known)
            if not known.heard.is_set():
                raise Unavailable("Redis: not heard of in time")
            tap.begin()
            yield tap
        finally:
            known.taps.discard(tap)

    async def ended(self, tenant: str, job_id: UUID, *, within_s: float) -> bool:
        """Wait for a job's terminal event; False where it does not come in time or cannot be waited for."""
        with suppress(TimeoutError, StreamEnded, Unavailable):
            async with (
                asyncio.timeout(within_s),
                self.watch(tenant, job_id, 0, pushes=False) as stream,
            ):
                async for event in stream:
                    if event.type.terminal:
                        return True
        return False

    def confirmed(self, tenant: str) -> None:
        """From here on this tenant's events are heard; whoever began before may have missed some."""
        known = self._tenants.get(tenant)
        if known is None:
            return
        known.heard.set()
        for watch in known.all():
            if watch.reading:
                watch.miss()
        for tap in known.taps:
            tap.miss()
        self._stale.add(tenant)
        self._wake.set()

    def received(self, tenant: str, event: Event) -> None:
        """Hand an event to those who watch its job."""
        known = self._tenants.get(tenant)
        for watch in known.watches.get(event.job_id, ()) if known else ():
            watch.push(event)
        for tap in known.taps if known else ():
            tap.push(event)

    def lost(self) -> None:
        """Nothing is heard until the next confirmation, which makes everybody stale."""
        for known in self._tenants.values():
            known.heard.clear()

    def nudged(self, job_id: UUID) -> None:
        """For the job's worker, not for those who watch it."""

    def _register(self, tenant: str, watch: Watch) -> _Tenant:
        watchers = self._known(tenant)
        watchers.watches[watch.job_id].add(watch)
        WATCHERS.inc()
        return watchers

    def _known(self, tenant: str) -> _Tenant:
        """Follow a tenant."""
        known = self._tenants.setdefault(tenant, _Tenant())
        if self._listener.follow(tenant):
            known.heard.set()
        return known

    async def _heard(self, watchers: _Tenant) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(CONFIRM_WAIT_S):
                await watchers.heard.wait()

    async def _history(self, tenant: str, watch: Watch, after: int) -> list[Event]:
        watch.reading = True
        history = await self._reads.events(tenant, watch.job_id, 0)
        if not history:
            raise NotFound(NO_JOB)
        watch.start(after if after <= history[-1].seq else 0, history[-1].seq)
        return history

    def _watches(self, tenants: Iterable[str]) -> list[Watch]:
        known = (self._tenants[tenant] for tenant in tenants if tenant in self._tenants)
        return [watch for watchers in known for watch in watchers.all()]

    async def _sweep_for_ever(self) -> None:
        while True:
            stale = await self._next_stale()
            try:
                await self._sweep(self._watches(stale))
            except Unavailable as error:
                log.warning("feed.sweep_failed", reason=str(error))

    async def _next_stale(self) -> set[str]:
        """The tenants to look at: those just confirmed at once, all of them every few seconds."""
        try:
            async with asyncio.timeout_at(self._all_at):
                await self._wake.wait()
        except TimeoutError:
            # A fixed beat: tenants that are confirmed all the time must not put off the look at the others.
            self._all_at = asyncio.get_running_loop().time() + SWEEP_EVERY_S
            self._forget_idle()
            return set(self._tenants)
        self._wake.clear()
        stale, self._stale = self._stale, set()
        return stale

    def _forget_idle(self) -> None:
        """Tenants that nobody watches any more; not at once, since the next subscriber is often near."""
        for tenant in [name for name, known in self._tenants.items() if known.idle]:
            del self._tenants[tenant]
            self._listener.unfollow(tenant)

    async def _sweep(self, watches: list[Watch]) -> None:
        ids = list({watch.job_id for watch in watches})
        seqs: dict[UUID, int] = {}
        for start in range(0, len(ids), SWEEP_BATCH):
            seqs |= await self._reads.seqs(ids[start : start + SWEEP_BATCH])
        MISSED.inc(sum(watch.judge(seqs.get(watch.job_id, 0)) for watch in watches))
