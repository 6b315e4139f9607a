"""The jobs in hand are judged by what this worker knows of them, again and again until the deadline."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from structlog.testing import capture_logs

from gpu_worker.handover import Handover
from gpu_worker.hold import Hold, Stop
from gpu_worker.leases import Leases
from gpu_worker.pace import REMEMBERED, Pace
from tests.fakes.worker import FakeAttempts
from tests.unit.gpu_worker.claims import claim

pytestmark = pytest.mark.anyio


def held(leases: Leases, since_s: float, **fields: Any) -> Hold:
    """A job in hand for so long."""
    hold = Hold(claim(**fields))
    leases.add(hold)
    hold.began = asyncio.get_running_loop().time() - since_s
    return hold


def ended(leases: Leases, took_s: float, *, stop: Stop | None = None, **fields: Any) -> None:
    hold = held(leases, took_s, **fields)
    hold.stop = stop
    leases.remove(hold)


async def test_what_will_not_end_in_time_is_given_back_at_once_and_the_rest_goes_on() -> None:
    leases = Leases(FakeAttempts())
    ended(leases, 3.0, model="short")
    ended(leases, 500.0, model="long")
    short, long = held(leases, 1.0, model="short"), held(leases, 1.0, model="long")
    stored = held(leases, 500.0, model="long")
    stored.computed = True

    with capture_logs() as logs:
        Handover(leases).sift(100.0)

    assert (short.stop, long.stop, stored.stop) == (None, Stop.RELEASED, None)
    (line,) = logs
    assert line["event"] == "worker.decided"
    assert line["given_back"] == {str(long.claim.id): 499.0}
    assert line["kept"] == {str(short.claim.id): 2.0, str(stored.claim.id): 0.0}


async def test_a_job_that_takes_longer_than_was_assumed_is_given_back_later() -> None:
    leases = Leases(FakeAttempts())
    ended(leases, 3.0)
    hold = held(leases, 1.0)
    handover = Handover(leases)

    with capture_logs() as logs:
        handover.sift(10.0)
        handover.sift(9.0)
        assert hold.stop is None
        hold.began -= 8.0
        handover.sift(5.0)

    assert hold.stop is Stop.RELEASED
    assert [len(line["given_back"]) for line in logs] == [0, 1]


async def test_without_a_deadline_nothing_is_judged() -> None:
    leases = Leases(FakeAttempts())
    hold = held(leases, 1e6)
    with capture_logs() as logs:
        Handover(leases).sift(math.inf)
    assert hold.stop is None
    assert logs == []


async def test_who_was_told_to_stop_before_is_left_to_that() -> None:
    leases = Leases(FakeAttempts())
    hold = held(leases, 1e6)
    hold.ask(Stop.CANCELED)
    Handover(leases).sift(1.0)
    assert hold.stop is Stop.CANCELED


async def test_only_runs_that_ended_by_themselves_are_remembered() -> None:
    leases = Leases(FakeAttempts())
    ended(leases, 2.0)
    for stop in Stop:
        ended(leases, 1.0, stop=stop)
    assert [round(took) for took in leases.pace.took_s("echo@1")] == [2]


def test_old_runs_are_forgotten() -> None:
    pace = Pace()
    for number in range(REMEMBERED + 10):
        pace.note("echo@1", float(number))
    assert list(pace.took_s("echo@1")) == [float(number) for number in range(10, REMEMBERED + 10)]
    assert not pace.took_s("other@1")
