"""The overview: counted, judged and worded once for all who look within a few seconds."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from gateway.operations.figures import crew_document, decision_document, silent
from gateway.operations.ports import Load, Pause, Pauses, Present
from gateway.overview.document import GAPS, Document, Seen, finding_document, oldest, seen_document
from gateway.overview.health import FEW_ENDED, LONGER_S, MAX_FINDINGS, judge, signs_grow
from gateway.overview.ports import Answering, Crew, Failure, Figures, Fleets, Lately
from gateway.overview.ring import MINUTE, SIZE, STEP_S, WINDOW_S, Ring, step_at
from gateway.overview.signs import FailureSigns, QueueSigns, Signs, WorkerSigns
from gateway.ports import Models
from shared.errors import LeveretError
from shared.events import timestamp

FRESH_S = 4.0
"""Who asks again sooner is shown the same."""
PING_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What the overview asks beside the counts.

    Attributes:
        catalog: Which queues there should be.
        crew: Who is at work.
        fleets: What operators set of the scaler's fleets.
        pauses: Which queues they hold.
        redis: Pushes.
        broker: Dispatches.
        currency: Of all prices.
        repaired: How many jobs this gateway's relay has put right since its start.
    """

    catalog: Models
    crew: Crew
    fleets: Fleets
    pauses: Pauses
    redis: Answering
    broker: Answering
    repaired: Callable[[], int]
    currency: str


class Board:
    """One per gateway.

    Args:
        figures: The counts.
        around: All else that is asked.
        clock: Seconds, monotonic.
    """

    def __init__(
        self, figures: Figures, around: Around, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._figures = figures
        self._around = around
        self._clock = clock
        self._rings: dict[str | None, Ring] = {}
        self._made: dict[str | None, tuple[float, Document]] = {}
        self._making: dict[str | None, asyncio.Lock] = {}
        self._repaired: deque[tuple[float, int]] = deque()

    async def overview(self, tenant: str | None) -> Document:
        """What one tenant sees, or (None) an operator.

        Raises:
            Unavailable: PostgreSQL is away.
        """
        async with self._making.setdefault(tenant, asyncio.Lock()):
            until, document = self._made.get(tenant, (0.0, {}))
            if not document or self._clock() >= until:
                document = await self._make(tenant)
                self._made[tenant] = (self._clock() + FRESH_S, document)
            return document

    async def _make(self, tenant: str | None) -> Document:
        began = self._clock()
        lately = await self._figures.lately(tenant)
        step, ring = step_at(lately.now), self._ring(tenant)
        await self._fill(ring, tenant, step)
        private = tenant is not None
        seen = Seen(
            lately=lately,
            loads=await self._figures.loads(tenant),
            errors=await self._figures.errors(tenant),
            workers=await self._around.crew.workers(),
            cost=await self._cost(step, private=private),
        )
        ring.put("oldest_wait_s", step, oldest(seen.loads) or 0.0)
        ring.put("devices_busy", step, float(seen.busy))
        signs = await self._signs(tenant, ring, seen, rows_s=self._clock() - began)
        shown = [finding_document(each, private=private) for each in judge(signs)]
        return {
            "at": timestamp(datetime.fromtimestamp(lately.now, UTC)),
            "scope": "all" if tenant is None else "tenant",
            "health": shown[0],
            "findings": shown[1:MAX_FINDINGS],
            **seen_document(seen, ring, step, private=private),
            "decisions": [] if private else await self._decisions(),
        }

    def _ring(self, tenant: str | None) -> Ring:
        """The curves of whoever looks; those of who has not for ten minutes are forgotten, and read anew."""
        now = self._clock()
        for old in [name for name, (until, _) in self._made.items() if now - until > SIZE * STEP_S]:
            del self._made[old], self._rings[old], self._making[old]
        return self._rings.setdefault(tenant, Ring())

    async def _fill(self, ring: Ring, tenant: str | None, step: int) -> None:
        """Read what came and ended since the last look: the rows know it, whoever looked or did not."""
        first = ring.missing(step)
        if first >= step:
            return
        arrivals = await self._figures.arrivals(tenant, step_s=STEP_S, first=first)
        endings = await self._figures.endings(tenant, step_s=STEP_S, first=first)
        for each in range(first, step):
            ring.put("arrivals_per_s", each, arrivals.get(each, 0) / STEP_S)
            ring.put("completions_per_s", each, 0.0)
        for row in endings:
            ring.put("completions_per_s", row.step, row.ended / STEP_S)
            ring.put("failure_ratio", row.step, row.failed / row.ended)
            ring.put("p95_wait_s", row.step, row.p95_wait_s)
        ring.filled_to = step - 1

    async def _signs(self, tenant: str | None, ring: Ring, seen: Seen, *, rows_s: float) -> Signs:
        private = tenant is not None
        signs = Signs(
            queues=await self._queues(seen, private=private),
            silent=() if private else [_silence(worker) for worker in seen.workers if silent(worker)],
            rows_s=None if private else rows_s,
            redis=None if private else await _answers(self._around.redis),
            broker=None if private else await _answers(self._around.broker),
            repaired=None if private else self._lately_repaired(),
            failure_ratio_before=ring.mean("failure_ratio", _before(seen.lately.now)),
            repeating=_repeating(seen.errors),
            **await self._ended(tenant, seen.lately),
        )
        failing = await self._failing(tenant, signs.window_s) if signs_grow(signs) else None
        return replace(signs, failing=failing)

    async def _ended(self, tenant: str | None, lately: Lately) -> Mapping[str, Any]:
        """What ended in the last minute, or in ten where it holds too few to tell."""
        window_s = WINDOW_S if lately.ended + lately.retried >= FEW_ENDED else LONGER_S
        told = lately if window_s == WINDOW_S else await self._figures.lately(tenant, window_s=window_s)
        ratio = told.failed / told.ended if told.ended else None
        known = {"failure_ratio": ratio, "ended": told.ended, "retried": told.retried}
        return {"window_s": window_s, **known}

    async def _failing(self, tenant: str | None, window_s: float) -> FailureSigns | None:
        top = await self._figures.failing(tenant, window_s=window_s)
        if top is None:
            return None
        command = f"leveret jobs --state failed --fingerprint {top.fingerprint}"
        return FailureSigns(
            fingerprint=top.fingerprint,
            code=top.code,
            model=top.model,
            count=top.count,
            message=top.message,
            command=command if tenant is not None else f"{command} --everybody",
        )

    async def _queues(self, seen: Seen, *, private: bool) -> list[QueueSigns]:
        offered = {model.queue for model in self._around.catalog.models}
        fleets = {} if private else await self._around.fleets.overrides()
        pauses = await self._around.pauses.pauses()
        scaled = frozenset[str]() if private else await self._figures.scaled()
        names = {load.queue for load in seen.loads} | (set() if private else offered)
        return [
            QueueSigns(
                queue=name,
                **_waiting([load for load in seen.loads if load.queue == name]),
                **_ready([worker for worker in seen.workers if worker.queue == name]),
                paused_by=_holder(pauses.get(name), private=private),
                fleet_paused_by=_holder(fleets.get(name), private=private),
                fleet_max=ordered.max if (ordered := fleets.get(name)) else None,
                scaled=name in scaled,
                offered=name in offered,
            )
            for name in names
        ]

    async def _cost(self, step: int, *, private: bool) -> Document:
        """What the machines cost an hour; null where one has no price, or none is there."""
        if private:
            return {"value": None, "currency": None, "points": GAPS}
        costs = await self._figures.costs(step_s=STEP_S, first=step - SIZE, last=step)
        points = [costs.get(each) for each in range(step - SIZE, step)]
        currency = self._around.currency if any(point is not None for point in costs.values()) else None
        return {"value": costs.get(step), "currency": currency, "points": points}

    async def _decisions(self) -> list[Document]:
        decided = await self._figures.decided()
        return [{**decision_document(each), "queue": each.queue} for each in decided]

    def _lately_repaired(self) -> int | None:
        """Within the last minute; None before anybody has looked for so long."""
        now, count = self._clock(), self._around.repaired()
        self._repaired.append((now, count))
        while len(self._repaired) > 1 and now - self._repaired[1][0] >= WINDOW_S:
            self._repaired.popleft()
        return count - self._repaired[0][1] if len(self._repaired) > 1 else None


def _before(now: float) -> range:
    """The steps of the ten minutes before the last one."""
    return range(step_at(now) - SIZE, step_at(now) - MINUTE)


def _repeating(errors: Sequence[Failure]) -> str | None:
    """What most attempts died of that were repeated, and in which model."""
    most = max(errors, key=lambda error: error.retried, default=None)
    return f"{most.code} in {most.model}" if most and most.retried else None


async def _answers(server: Answering) -> bool | None:
    try:
        async with asyncio.timeout(PING_S):
            await server.ping()
    except (LeveretError, TimeoutError):
        return False
    return True


def _waiting(loads: Sequence[Load]) -> Mapping[str, Any]:
    return {"waiting": sum(load.waiting for load in loads), "oldest_s": oldest(loads)}


def _ready(workers: Sequence[Present]) -> Mapping[str, Any]:
    crew = crew_document(workers)
    return {"ready": crew["ready"], "starting": crew["starting"]}


def _holder(said: Pause | None, *, private: bool) -> str | None:
    """Who paused something; a tenant need not know which operator."""
    if said is None or not said.paused:
        return None
    return "an operator" if private else said.changed_by


def _silence(worker: Present) -> WorkerSigns:
    return WorkerSigns(id=worker.id, silent_s=worker.heartbeat_s, jobs=len(worker.jobs))
