"""Lost messages are found by overtaking, by an empty queue, or because the queue itself was gone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from gateway.redelivery import LOOK_S, Redelivery
from gateway.settings import Gateway
from shared.errors import Unavailable

pytestmark = pytest.mark.anyio

EARLY = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
LATER = datetime(2026, 11, 22, 9, 1, tzinfo=UTC)


@dataclass(frozen=True)
class FakeSilent:
    queue: str
    published_before: datetime = EARLY


@dataclass(frozen=True)
class FakeDepth:
    ready: int


@dataclass
class FakeRows:
    silent_queues: list[FakeSilent] = field(default_factory=list)
    again: list[FakeSilent] = field(default_factory=list)
    all_of: list[str] = field(default_factory=list)
    promotions: int = 0
    away: bool = False

    async def overtaken(self, *, margin_s: float, forgotten_s: float) -> int:
        return 0

    async def silent(self, *, after_s: float) -> Sequence[FakeSilent]:
        return self.silent_queues

    async def publish_again(self, silent: FakeSilent) -> int:
        self.again.append(silent)
        return 1

    async def publish_all(self, queue: str) -> int:
        if self.away:
            raise Unavailable("away")
        self.all_of.append(queue)
        return 1

    async def promote(self, *, high_s: float, normal_s: float, low_s: float) -> dict[str, int]:
        assert high_s < normal_s < low_s
        self.promotions += 1
        return {}


@dataclass
class FakeBroker:
    ready: int = 0
    away: bool = False
    gone: list[str] = field(default_factory=list)

    async def depth(self, queue: str) -> FakeDepth:
        if self.away:
            raise Unavailable("away")
        return FakeDepth(self.ready)

    def vanished(self) -> list[str]:
        return list(self.gone)

    def forget_vanished(self, queue: str) -> None:
        self.gone.remove(queue)


class House:
    def __init__(self) -> None:
        self.now = 0.0
        self.rows, self.broker = FakeRows(silent_queues=[FakeSilent("images")]), FakeBroker()
        self.redelivery = Redelivery(self.rows, self.broker, Gateway(), clock=lambda: self.now)

    async def look(self) -> None:
        await self.redelivery.check()
        self.now += LOOK_S


async def test_two_empty_looks_send_again_what_was_sent_before_the_first() -> None:
    house = House()
    await house.look()
    assert house.rows.again == []
    house.rows.silent_queues = [FakeSilent("images", LATER)]

    await house.look()

    assert house.rows.again == [FakeSilent("images", EARLY)]


async def test_a_message_in_between_starts_the_count_anew() -> None:
    house = House()
    await house.look()
    house.broker.ready = 1
    await house.look()
    house.broker.ready = 0
    await house.look()
    assert house.rows.again == []

    await house.look()

    assert len(house.rows.again) == 1


async def test_a_broker_that_does_not_answer_is_not_an_empty_one() -> None:
    house = House()
    house.broker.away = True
    for _ in range(5):
        await house.look()
    assert house.rows.again == []


async def test_a_queue_that_was_gone_is_sent_again_at_once() -> None:
    house = House()
    await house.redelivery.check()
    house.broker.gone = ["images"]
    house.rows.away = True
    with pytest.raises(Unavailable):
        await house.redelivery.check()
    house.rows.away = False

    await house.redelivery.check()
    await house.redelivery.check()

    assert house.rows.all_of == ["images"]


async def test_looks_are_ten_seconds_apart_however_often_it_is_asked() -> None:
    house = House()
    for _ in range(5):
        await house.redelivery.check()
    assert house.rows.promotions == 1
