"""Jobs are inside together, or one is alone."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from gpu_worker import gate
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


async def test_who_is_to_be_alone_waits_for_the_others_and_is_passed_by_meanwhile() -> None:
    house = House()
    first, alone, later = claim(), claim(alone=True), claim()
    visits = []
    for visitor in (first, alone, later):
        visits.append(asyncio.create_task(house.visit(visitor)))
        await settle()
    assert house.inside == {first.id, later.id}

    house.leave.set()
    await asyncio.gather(*visits)

    assert house.seen[alone.id] == 1


async def test_a_stream_of_others_comes_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "OPEN_S", 0.01)
    house = House()
    first, alone, later = claim(), claim(alone=True), claim()
    visits = [asyncio.create_task(house.visit(visitor)) for visitor in (first, alone)]
    await until_closed(house)
    visits.append(asyncio.create_task(house.visit(later)))
    claiming = asyncio.create_task(house.gate.admitted())
    await settle()
    assert house.inside == {first.id}
    assert not claiming.done()

    house.leave.set()
    await asyncio.gather(*visits, claiming)

    assert (house.seen[alone.id], house.seen[later.id]) == (1, 1)


async def test_the_door_is_opened_again_where_somebody_stays_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gate, "OPEN_S", 0.01)
    monkeypatch.setattr(gate, "CLOSED_S", 0.01)
    house = House()
    first, alone, later = claim(), claim(alone=True), claim()
    visits = [asyncio.create_task(house.visit(visitor)) for visitor in (first, alone)]
    await until_closed(house)
    visits.append(asyncio.create_task(house.visit(later)))
    async with asyncio.timeout(10):
        while later.id not in house.inside:
            await asyncio.sleep(0.001)

    assert house.inside == {first.id, later.id}
    house.leave.set()
    await asyncio.gather(*visits)
    assert house.seen[alone.id] == 1


async def until_closed(house: House) -> None:
    async with asyncio.timeout(10):
        while house.gate._door.is_set():
            await asyncio.sleep(0.001)


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
