"""What EC2 says reaches the worker's departure, whatever state its metadata service is in. Real HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs

from gpu_worker import preemption
from gpu_worker.departure import NOTICES, RELEASE_S, Departure
from gpu_worker.preemption import NOTICE_S, UNREADABLE_S, Watcher, seconds_left
from gpu_worker.settings import WorkerSection
from shared.adapters import imds as imds_module
from shared.adapters.imds import Imds, open_imds
from shared.errors import DeviceMissing, Unavailable
from tests.fakes.imds import INSTANCE_ACTION, REBALANCE, FakeImds, fake_imds

pytestmark = pytest.mark.anyio

AT = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


@dataclass
class Told:
    """What the watcher said."""

    gone_s: list[float] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)

    def gone_in(self, seconds: float) -> None:
        self.gone_s.append(seconds)

    def retire(self, kind: str) -> None:
        self.kinds.append(kind)


@pytest.fixture
def service() -> Iterator[FakeImds]:
    with fake_imds() as fake:
        yield fake


@pytest.fixture
async def imds(service: FakeImds) -> AsyncIterator[Imds]:
    async with open_imds(service.url) as opened:
        yield opened


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preemption, "POLL_S", 0.01)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


# the notice


async def test_an_interruption_is_told_once_and_ends_the_watch(service: FakeImds, imds: Imds) -> None:
    told = Told()
    watching = asyncio.create_task(Watcher(imds, told).run())
    await until(lambda: service.asked.count(REBALANCE) >= 2)
    assert not watching.done()

    service.interrupt(60)
    await asyncio.wait_for(watching, 10)

    (left_s,) = told.gone_s
    assert 50 <= left_s <= 60
    assert told.kinds == []


async def test_the_rebalance_advice_is_told_once_and_the_notice_after_it(
    service: FakeImds, imds: Imds
) -> None:
    told = Told()
    watching = asyncio.create_task(Watcher(imds, told).run())

    service.recommend()
    await until(lambda: told.kinds)
    looks = len(service.asked)
    await until(lambda: len(service.asked) > looks + 2)
    service.interrupt(60)
    await asyncio.wait_for(watching, 10)

    assert told.kinds == ["rebalance"]
    assert len(told.gone_s) == 1


async def test_the_services_own_clock_counts(service: FakeImds, imds: Imds) -> None:
    service.ahead_s = 3600
    service.interrupt(60)
    told = Told()

    assert await Watcher(imds, told).look()

    assert 50 <= told.gone_s[0] <= 61


@pytest.mark.parametrize(
    ("action", "time", "left_s"),
    [
        ("terminate", "2026-11-22T12:01:30Z", 90),
        ("stop", "2026-11-22T12:01:30+00:00", 90),
        ("stop", "2026-11-22T12:01:30", 90),
        ("hibernate", "2026-11-22T12:01:30Z", 0),
        ("terminate", "2026-11-22T11:00:00Z", 0),
        ("terminate", "2026-11-22T18:00:00Z", NOTICE_S),
        ("something-new", "2026-11-22T12:01:30Z", 90),
        ("terminate", "soon", UNREADABLE_S),
        ("terminate", "", UNREADABLE_S),
    ],
)
def test_what_a_notice_leaves(action: str, time: str, left_s: float) -> None:
    assert seconds_left({"action": action, "time": time}, AT) == left_s


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>captive portal</html>",
        b"\xff\xfe",
        b"[" * 60_000,
        b"[]",
        b'{"time": 1}',
        b'{"action": 7}',
    ],
    ids=["empty", "page", "bytes", "deep", "list", "no action", "odd action"],
)
async def test_what_is_no_notice_ends_nobody_and_is_told_once(
    service: FakeImds, imds: Imds, body: bytes
) -> None:
    service.items[INSTANCE_ACTION] = body
    told = Told()
    watcher = Watcher(imds, told)

    with capture_logs() as logs:
        assert [await watcher.look() for _ in range(3)] == [False] * 3

    assert told.gone_s == []
    assert [line["event"] for line in logs] == ["preemption.unreadable"]


# the session


async def test_one_token_serves_many_looks_and_a_run_out_one_is_replaced(
    service: FakeImds, imds: Imds
) -> None:
    watcher = Watcher(imds, Told())
    for _ in range(3):
        await watcher.look()
    assert service.asked.count("/latest/api/token") == 1

    service.tokens.clear()
    service.interrupt(60)

    assert await watcher.look()
    assert service.asked.count("/latest/api/token") == 2


async def test_a_service_that_takes_no_token_at_all_is_no_endless_loop(service: FakeImds, imds: Imds) -> None:
    service.tokens = Refused()
    with pytest.raises(Unavailable, match="401"):
        await imds.read(INSTANCE_ACTION)
    assert len(service.asked) == 4


class Refused(set[str]):
    def __contains__(self, token: object) -> bool:
        return False


async def test_an_answer_without_end_is_refused(service: FakeImds, imds: Imds) -> None:
    service.items[INSTANCE_ACTION] = b"x" * (imds_module.MAX_BYTES + 1)
    with pytest.raises(Unavailable):
        await imds.read(INSTANCE_ACTION)


async def test_no_proxy_of_the_environment_is_asked(
    service: FakeImds, imds: Imds, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert await imds.read(INSTANCE_ACTION) is None


# no answer


async def test_a_silent_service_costs_a_look_and_not_the_watch(
    service: FakeImds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imds_module, "TIMEOUT_S", 0.1)
    told = Told()
    async with open_imds(service.url) as imds:
        watcher = Watcher(imds, told)
        await watcher.look()
        with capture_logs() as logs:
            watching = asyncio.create_task(watcher.run())
            await until(lambda: watcher._ever_answered)
            service.answers.clear()
            looks = len(service.asked)
            await until(lambda: len(service.asked) > looks + preemption.TRIES + 2)
            service.interrupt(60)
            service.answers.set()
            await asyncio.wait_for(watching, 10)

    assert len(told.gone_s) == 1
    events = [line["event"] for line in logs]
    assert events == ["preemption.no_answer", "preemption.interruption", "preemption.answers_again"]


async def test_where_nobody_listens_it_gives_up_and_says_so_once() -> None:
    with fake_imds() as gone:
        url = gone.url
    async with open_imds(url) as imds:
        with capture_logs() as logs:
            await asyncio.wait_for(Watcher(imds, Told()).run(), 10)
    assert [line["event"] for line in logs] == ["preemption.not_watched"]


async def test_a_service_that_is_switched_off_is_none(service: FakeImds, imds: Imds) -> None:
    service.disabled = True
    with capture_logs() as logs:
        await asyncio.wait_for(Watcher(imds, Told()).run(), 10)
    assert [line["event"] for line in logs] == ["preemption.not_watched"]
    assert service.asked == ["/latest/api/token"] * preemption.TRIES


# what it means


async def test_the_machine_leaves_time_to_give_back() -> None:
    departure = Departure()
    departure.gone_in(115)
    assert departure.asked.is_set()
    assert departure.left_s == pytest.approx(115 - RELEASE_S, abs=0.5)


async def test_the_nearest_deadline_counts_whoever_set_it() -> None:
    departure = Departure()
    departure.retire("scaler")
    assert (departure.kind, departure.left_s) == ("scaler", float("inf"))
    departure.within("signal", 100)
    departure.gone_in(60)
    departure.within("signal", 300)
    departure.retire("rebalance")

    assert departure.kind == "interruption"
    assert departure.left_s == pytest.approx(60 - RELEASE_S, abs=0.5)


async def test_each_kind_of_wish_is_counted_once_however_often_it_is_said() -> None:
    def counted() -> list[float]:
        return [NOTICES.labels(kind)._value.get() for kind in ("scaler", "signal", "interruption")]

    before = counted()
    departure = Departure()
    for _ in range(3):
        departure.retire("scaler")
        departure.gone_in(100)
    assert [now - then for now, then in zip(counted(), before, strict=True)] == [1, 0, 1]


@pytest.mark.parametrize("url", ["169.254.169.254", "https://metadata", "http://host/latest", "http://", ""])
def test_what_is_no_address_of_such_a_service_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        WorkerSection(imds_url=url)


async def test_the_wish_to_leave_cuts_a_long_start_short() -> None:
    departure = Departure()
    asyncio.get_running_loop().call_soon(departure.retire, "scaler")
    await asyncio.wait_for(departure.unless_asked(asyncio.sleep(60)), 10)


async def test_a_start_that_finds_no_device_is_told() -> None:
    departure = Departure()

    async def finds_out() -> None:
        departure.fail(DeviceMissing("no GPU"), 10)

    with pytest.raises(DeviceMissing):
        await departure.unless_asked(finds_out())


async def test_a_start_that_fails_is_told() -> None:
    async def fails() -> None:
        raise Unavailable("no device")

    with pytest.raises(Unavailable):
        await Departure().unless_asked(fails())
