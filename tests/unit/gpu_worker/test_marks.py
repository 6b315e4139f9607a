"""Who is at work in an engine is written down, a moment after it began."""

from __future__ import annotations

import asyncio

import pytest

from gpu_worker.hold import Hold
from gpu_worker.leases import Leases
from gpu_worker.marks import Marks
from shared.errors import Unavailable
from shared.jobs import Claim
from tests.fakes.worker import FakeAttempts
from tests.unit.gpu_worker.claims import claim

pytestmark = pytest.mark.anyio


class House:
    def __init__(self) -> None:
        self.attempts = FakeAttempts()
        self.leases = Leases(self.attempts)
        self.marks = Marks(self, self.leases)
        self.marked: list[Claim] = []
        self.away = 0
        self.told = asyncio.Event()

    async def enter(self, claim: Claim) -> None:
        if self.away:
            self.away -= 1
            raise Unavailable("away")
        self.marked.append(claim)
        self.told.set()

    def begin(self) -> Hold:
        hold = Hold(claim())
        self.leases.add(hold)
        self.marks.begun(hold)
        return hold


async def test_who_is_still_in_hand_is_marked_and_who_has_left_costs_nothing() -> None:
    house = House()
    running = asyncio.create_task(house.marks.run())
    long, short = house.begin(), house.begin()
    house.leases.remove(short)

    await house.told.wait()

    assert house.marked == [long.claim]
    running.cancel()


async def test_a_mark_that_could_not_be_made_is_made_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpu_worker.marks.AGAIN_S", 0.01)
    house = House()
    house.away = 2
    running = asyncio.create_task(house.marks.run())
    long = house.begin()

    await house.told.wait()

    assert house.marked == [long.claim]
    running.cancel()
