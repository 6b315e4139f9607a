"""Jobs are inside together, or one is alone."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from gpu_worker.gate import Gate
from shared.jobs import Claim
from tests.unit.gpu_worker.claims import claim

pytestmark = pytest.mark.anyio


class House:
    def __init__(self) -> None:
        self.gate = Gate()
        self.inside: set[UUID] = set()
        self.seen: dict[UUID, int] = {}
        self.leave = asyncio.Event()

    async def visit(self, claim: Claim) -> None:
        async with self.gate.entered(claim):
            self.inside.add(claim.id)
            self.seen[claim.id] = len(self.inside)
            await self.leave.wait()
            self.inside.discard(claim.id)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_who_is_alone_waits_for_the_others_and_keeps_out_those_who_come_later() -> None:
    house = House()
    first, second, alone, later = claim(), claim(), claim(alone=True), claim()
    visits = []
    for visitor in (first, second, alone, later):
        visits.append(asyncio.create_task(house.visit(visitor)))
        await settle()
    assert house.inside == {first.id, second.id}

    house.leave.set()
    await asyncio.gather(*visits)

    assert house.seen[alone.id] == 1
    assert len(house.seen) == 4


async def test_who_is_canceled_while_waiting_blocks_nobody() -> None:
    house = House()
    inside, waiting, next_ = claim(), claim(alone=True), claim()
    tasks = [asyncio.create_task(house.visit(visitor)) for visitor in (inside, waiting)]
    await settle()

    tasks[1].cancel()
    await settle()
    tasks.append(asyncio.create_task(house.visit(next_)))
    await settle()

    assert house.inside == {inside.id, next_.id}
    house.leave.set()
    await asyncio.gather(tasks[0], tasks[2])
