"""What a heartbeat says of work that comes and goes between two beats, and of the devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from gpu_worker.heartbeat import Heartbeat
from gpu_worker.hold import Hold
from gpu_worker.leases import Leases
from gpu_worker.ports import WorkerState
from shared.errors import OutcomeUnknown, Unavailable
from tests.fakes.worker import FakeAttempts
from tests.unit.gpu_worker.claims import claim

pytestmark = pytest.mark.anyio


@dataclass
class Beats:
    told: list[int] = field(default_factory=list)
    claims: list[int] = field(default_factory=list)
    reports: list[Mapping[str, Any] | None] = field(default_factory=list)
    loads: list[list[str]] = field(default_factory=list)
    away: bool = False
    deaf: bool = False

    async def beat(
        self, state: WorkerState, *, busy: int, claims: int, report: Mapping[str, Any] | None
    ) -> bool:
        if self.away:
            raise Unavailable("away")
        assert state in {"starting", "gone"}
        self.claims.append(claims)
        self.told.append(busy)
        self.reports.append(report)
        return False

    async def loaded(self, loads: Sequence[Mapping[str, Any]]) -> None:
        self.loads.append([load["id"] for load in loads])
        if self.deaf:
            raise OutcomeUnknown("the answer was lost")


@dataclass
class Told:
    untold: list[dict[str, Any]] = field(default_factory=list)
    reports: int = 0

    async def report(self) -> dict[str, Any]:
        self.reports += 1
        return {"number": self.reports}

    def loads(self) -> list[dict[str, Any]]:
        return list(self.untold)

    def told(self, loads: Sequence[dict[str, Any]]) -> None:
        self.untold = [load for load in self.untold if load not in loads]


async def test_each_beat_tells_of_the_devices_and_the_last_one_does_not() -> None:
    beats, vitals = Beats(), Told()
    heartbeat = Heartbeat(beats, Leases(FakeAttempts()), retire=lambda: None, vitals=vitals)

    await heartbeat.beat()
    await heartbeat.beat()
    await heartbeat.leave()

    assert beats.reports == [{"number": 1}, {"number": 2}, None]
    assert beats.loads == []


async def test_a_load_is_told_until_it_is_known_to_be_written_down() -> None:
    beats, vitals = Beats(away=True), Told([{"id": "1"}, {"id": "2"}])
    heartbeat = Heartbeat(beats, Leases(FakeAttempts()), retire=lambda: None, vitals=vitals)

    # PostgreSQL is away, then its answer gets lost, then it is there
    await heartbeat.beat()
    beats.away, beats.deaf = False, True
    await heartbeat.beat()
    beats.deaf = False
    vitals.untold.append({"id": "3"})
    await heartbeat.beat()
    await heartbeat.beat()

    assert beats.loads == [["1", "2"], ["1", "2", "3"]]
    assert vitals.untold == []


async def test_a_stream_of_short_jobs_is_not_idleness() -> None:
    beats = Beats()
    leases = Leases(FakeAttempts())
    heartbeat = Heartbeat(beats, leases, retire=lambda: None)

    await heartbeat.beat()
    for _ in range(2):
        hold = Hold(claim())
        leases.add(hold)
        leases.remove(hold)
        await heartbeat.beat()
    await heartbeat.beat()

    assert beats.told == [0, 1, 1, 0]
    assert beats.claims == [0, 1, 2, 2]
