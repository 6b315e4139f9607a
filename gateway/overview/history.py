"""How it went over time: latency, outcomes and backlog, in as many steps as a chart has room for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from gateway.lists.asked import tenant_of
from gateway.lists.statistics import P99_FROM, Sample, Share
from gateway.overview.depths import Depths
from gateway.ports import Caller
from shared.events import timestamp

STEPS = 60
FRESH_S = 5.0
"""Who asks the same again sooner is shown the same."""
KEPT = 64
"""Answers kept, of any window, tenant and model."""
OUTCOMES = ("succeeded", "failed", "retried", "canceled", "expired")

Document = dict[str, Any]
Key = tuple[str | None, str | None, float]


class Step(Sample, Protocol):
    """The attempts that ended within one step."""

    @property
    def step(self) -> int:
        """Which one."""


class Steps(Protocol):
    """Reads them."""

    async def steps(
        self, tenant: str | None, model: str | None, *, step_s: float, count: int
    ) -> Sequence[Step]:
        """The last ones, oldest first; raises Unavailable."""


class History:
    """One per gateway.

    Args:
        rows: What ended.
        depths: What this gateway saw waiting.
        clock: Seconds, monotonic.
    """

    def __init__(self, rows: Steps, depths: Depths, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rows = rows
        self.depths = depths
        self._clock = clock
        self._made: dict[Key, tuple[float, Document]] = {}
        self._making = asyncio.Lock()

    async def history(self, caller: Caller, scope: str, window_s: float, model: str | None) -> Document:
        """The last `window_s` seconds.

        Raises:
            Forbidden: Every tenant's were asked for, with a key of a tenant.
            Unavailable: PostgreSQL is away.
        """
        key = (tenant_of(caller, scope), model, window_s)
        async with self._making:
            now = self._clock()
            until, document = self._made.get(key, (0.0, {}))
            if not document or now >= until:
                document = await self._make(*key)
                self._made = {name: kept for name, kept in self._made.items() if kept[0] > now}
                if len(self._made) < KEPT:
                    self._made[key] = (now + FRESH_S, document)
            return document

    async def _make(self, tenant: str | None, model: str | None, window_s: float) -> Document:
        step_s = window_s / STEPS
        rows = await self._rows.steps(tenant, model, step_s=step_s, count=STEPS)
        first = rows[0].step
        return {
            "from": timestamp(datetime.fromtimestamp(first * step_s, UTC)),
            "step_s": step_s,
            "n": [row.n for row in rows],
            "more": [row.more for row in rows],
            "wait": _percentiles([row.wait for row in rows]),
            "run": _percentiles([row.run for row in rows]),
            "ended": {name: [row.ended[name] for row in rows] for name in OUTCOMES},
            "backlog": self._backlog(first, step_s) if tenant is None and model is None else None,
        }

    def _backlog(self, first: int, step_s: float) -> Document:
        points = self.depths.steps(first, STEPS, step_s)
        return {
            "seen": self.depths.seen(first, STEPS, step_s),
            "queues": [{"queue": queue, "points": told} for queue, told in points.items()],
        }


def _percentiles(shares: Sequence[Share]) -> Document:
    told = [_share(*share) for share in shares]
    return {name: [each[place] for each in told] for place, name in enumerate(("p50", "p95", "p99"))}


def _share(n: int, values: Sequence[float]) -> tuple[float | None, float | None, float | None]:
    if not n:
        return None, None, None
    p50, p95, p99 = (round(value, 6) for value in values)
    return p50, p95, p99 if n >= P99_FROM else None
