"""The drain: take no more, finish what fits, give back the rest."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from gpu_worker import serving
from gpu_worker.departure import RELEASE_S, Departure
from gpu_worker.ports import Delivery
from gpu_worker.serving import Server

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Message:
    body: bytes


@dataclass
class FakeQueue:
    arrived: asyncio.Queue[Message] = field(default_factory=asyncio.Queue)
    settled: list[Message] = field(default_factory=list)
    late: list[Message] = field(default_factory=list)
    stopped: bool = False

    async def next(self) -> Message:
        return await self.arrived.get()

    async def settle(self, delivery: Message) -> None:
        self.settled.append(delivery)

    async def stop(self) -> list[Message]:
        self.stopped = True
        return self.late


@dataclass
class FakeWorker:
    """Its jobs end when `end` is set, or when they are given back."""

    end: asyncio.Event = field(default_factory=asyncio.Event)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    stubborn: bool = False
    given_back: bool = False

    async def act_on(self, delivery: Delivery) -> None:
        if delivery.body == b"defect":
            raise ZeroDivisionError
        self.begun.set()
        await self.end.wait()

    def give_back(self) -> None:
        self.given_back = True
        if not self.stubborn:
            self.end.set()


@dataclass
class FakeHandover:
    """Ends the jobs once less is left than they need."""

    worker: FakeWorker
    need_s: float = 0.0
    left: list[float] = field(default_factory=list)

    def sift(self, left_s: float) -> None:
        self.left.append(left_s)
        if left_s < self.need_s:
            self.worker.end.set()


@dataclass
class House:
    queue: FakeQueue = field(default_factory=FakeQueue)
    worker: FakeWorker = field(default_factory=FakeWorker)
    departure: Departure = field(default_factory=Departure)
    told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.handover = FakeHandover(self.worker)

    def serve(self) -> asyncio.Task[None]:
        server = Server(self.queue, self.worker, self.handover, on_leave=lambda: self.told.append("draining"))
        return asyncio.create_task(server.run(self.departure))


@pytest.fixture(autouse=True)
def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "LOOK_S", 0.01)


async def test_a_drain_lets_the_job_in_hand_end_and_takes_no_other() -> None:
    house = House()
    serving_ = house.serve()
    house.queue.arrived.put_nowait(Message(b"one"))
    await house.worker.begun.wait()

    house.departure.within("signal", 60)
    await asyncio.sleep(0)
    house.worker.end.set()
    await serving_

    assert house.queue.stopped
    assert house.queue.settled == [Message(b"one")]
    assert not house.worker.given_back
    assert house.told == ["draining"]


async def test_who_retires_has_no_deadline_until_it_is_told_to_hurry() -> None:
    house = House()
    serving_ = house.serve()
    house.queue.arrived.put_nowait(Message(b"long"))
    await house.worker.begun.wait()

    house.departure.retire("scaler")
    await asyncio.sleep(0.1)
    assert house.queue.stopped
    assert not house.worker.given_back
    house.departure.within("signal", 0.01)
    await serving_

    assert house.worker.given_back
    assert house.queue.settled == [Message(b"long")]


async def test_what_does_not_fit_is_given_back_long_before_the_deadline() -> None:
    house = House()
    house.handover.need_s = 3600
    serving_ = house.serve()
    house.queue.arrived.put_nowait(Message(b"long"))
    await house.worker.begun.wait()

    house.departure.gone_in(100)
    await asyncio.wait_for(serving_, 10)

    assert house.queue.settled == [Message(b"long")]
    assert not house.worker.given_back
    assert house.handover.left[0] == pytest.approx(100 - RELEASE_S, abs=1)


async def test_the_jobs_are_looked_at_again_while_they_go_on() -> None:
    house = House()
    serving_ = house.serve()
    house.queue.arrived.put_nowait(Message(b"one"))
    await house.worker.begun.wait()

    house.departure.within("signal", 60)
    while len(house.handover.left) < 3:
        await asyncio.sleep(0)
    house.worker.end.set()
    await serving_

    assert house.handover.left == sorted(house.handover.left, reverse=True)


async def test_a_notice_comes_while_the_worker_retires() -> None:
    house = House()
    house.handover.need_s = 3600
    serving_ = house.serve()
    house.queue.arrived.put_nowait(Message(b"long"))
    await house.worker.begun.wait()

    house.departure.retire("rebalance")
    while not house.handover.left:
        await asyncio.sleep(0)
    assert not house.worker.end.is_set()
    house.departure.gone_in(100)
    await asyncio.wait_for(serving_, 10)

    assert house.told == ["draining"]
    assert not house.worker.given_back


async def test_a_machine_that_goes_at_once_gives_all_back_unjudged() -> None:
    house = House()
    serving_ = house.serve()
    house.queue.arrived.put_nowait(Message(b"long"))
    await house.worker.begun.wait()

    house.departure.gone_in(0)
    await asyncio.wait_for(serving_, 10)

    assert house.worker.given_back
    assert house.handover.left == []


async def test_what_does_not_end_in_time_is_given_back_and_then_acknowledged() -> None:
    house = House()
    serving_ = house.serve()
    house.queue.arrived.put_nowait(Message(b"long"))
    await house.worker.begun.wait()

    house.departure.within("signal", 0.01)
    await serving_

    assert house.worker.given_back
    assert house.queue.settled == [Message(b"long")]


async def test_a_message_that_came_while_the_worker_left_is_served() -> None:
    house = House(queue=FakeQueue(late=[Message(b"late")]))
    serving_ = house.serve()

    house.departure.retire("scaler")
    await house.worker.begun.wait()
    house.worker.end.set()
    await serving_

    assert house.queue.settled == [Message(b"late")]


async def test_a_machine_that_goes_at_once_begins_nothing_new() -> None:
    house = House(queue=FakeQueue(late=[Message(b"late")]))
    serving_ = house.serve()

    house.departure.gone_in(0)
    await asyncio.wait_for(serving_, 10)

    assert not house.worker.begun.is_set()
    assert house.queue.settled == []


async def test_what_cannot_even_be_given_back_is_left_unacknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "RELEASE_S", 0.01)
    house = House(worker=FakeWorker(stubborn=True))
    serving_ = house.serve()
    house.queue.arrived.put_nowait(Message(b"stuck"))
    await house.worker.begun.wait()

    house.departure.within("signal", 0.01)
    await serving_

    assert house.queue.settled == []


async def test_a_defect_ends_the_worker_and_acknowledges_nothing() -> None:
    house = House()
    serving_ = house.serve()
    house.queue.arrived.put_nowait(Message(b"defect"))

    with pytest.raises(ExceptionGroup):
        await serving_
    assert house.queue.settled == []
