"""RabbitMQ in memory, as far as a publisher sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from shared.errors import LeveretError, Misconfigured


@dataclass
class FakePublisher:
    """Keeps what was published.

    Attributes:
        sent: (queue, job, priority, traceparent) in order.
        confirms: Cleared, it lets a publish wait for its confirm.
        failure: Raised in place of a confirm.
        refused: By queue, what `check` raises.
    """

    sent: list[tuple[str, UUID, int, str | None]] = field(default_factory=list)
    declared: list[str] = field(default_factory=list)
    confirms: asyncio.Event = field(default_factory=asyncio.Event)
    failure: LeveretError | None = None
    refused: dict[str, Misconfigured] = field(default_factory=dict)
    cancelled: int = 0

    async def publish(self, queue: str, job_id: UUID, *, priority: int, traceparent: str | None) -> None:
        self.sent.append((queue, job_id, priority, traceparent))
        if self.failure is not None:
            raise self.failure
        try:
            await self.confirms.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def declare(self, queues: Iterable[str]) -> None:
        self.declared += queues
        for error in self.refused.values():
            raise error
