"""Redis in memory: hot results, one channel per tenant, and connections that can be lost."""

from __future__ import annotations

import asyncio
from typing import Protocol
from uuid import UUID

from shared.events import Event


class Sink(Protocol):
    def confirmed(self, tenant: str) -> None: ...

    def received(self, tenant: str, event: Event) -> None: ...

    def lost(self) -> None: ...

    def nudged(self, job_id: UUID) -> None: ...


class FakeListener:
    """Confirms at once, unless `silent`; hears nothing before that."""

    def __init__(self) -> None:
        self.wanted: set[str] = set()
        self.live: set[str] = set()
        self.silent = False
        self._sink: Sink | None = None
        self._changed = asyncio.Event()

    def follow(self, tenant: str) -> bool:
        self.wanted.add(tenant)
        self._changed.set()
        return tenant in self.live

    def unfollow(self, tenant: str) -> None:
        self.wanted.discard(tenant)
        self.live.discard(tenant)

    async def run(self, sink: Sink) -> None:
        self._sink = sink
        while True:
            await self._changed.wait()
            self._changed.clear()
            for tenant in sorted(self.wanted - self.live) if not self.silent else ():
                self.live.add(tenant)
                sink.confirmed(tenant)

    def hear(self, tenant: str, event: Event) -> None:
        if self._sink is not None and tenant in self.live:
            self._sink.received(tenant, event)

    def nudge(self, job_id: UUID) -> None:
        if self._sink is not None:
            self._sink.nudged(job_id)

    def drop_connection(self) -> None:
        """Lose the connection, and get it back."""
        self.live.clear()
        if self._sink is not None:
            self._sink.lost()
        self._changed.set()


class FakeBus:
    """The bus as one process sees it; every listener of it hears every announcement."""

    def __init__(self) -> None:
        self._results: dict[tuple[str, UUID], tuple[int, bytes]] = {}
        self._listeners: list[FakeListener] = []

    def listener(self) -> FakeListener:
        self._listeners.append(FakeListener())
        return self._listeners[-1]

    async def announce(self, tenant: str, event: Event, result: bytes | None = None) -> None:
        kept = self._results.get((tenant, event.job_id))
        if result is not None and (kept is None or kept[0] < event.seq):
            self._results[tenant, event.job_id] = (event.seq, result)
        for listener in self._listeners:
            listener.hear(tenant, event)

    async def nudge(self, job_id: UUID) -> None:
        for listener in self._listeners:
            listener.nudge(job_id)

    async def result(self, tenant: str, job_id: UUID) -> bytes | None:
        kept = self._results.get((tenant, job_id))
        return kept[1] if kept else None

    async def ping(self) -> None:
        return None
