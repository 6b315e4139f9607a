"""What a heartbeat says of work that comes and goes between two beats."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from gpu_worker.heartbeat import Heartbeat
from gpu_worker.hold import Hold
from gpu_worker.leases import Leases
from gpu_worker.ports import WorkerState
from tests.fakes.worker import FakeAttempts
from tests.unit.gpu_worker.claims import claim

pytestmark = pytest.mark.anyio


@dataclass
class Beats:
    told: list[int] = field(default_factory=list)
    claims: list[int] = field(default_factory=list)

    async def beat(self, state: WorkerState, *, busy: int, claims: int) -> bool:
        assert state == "starting"
        self.claims.append(claims)
        self.told.append(busy)
        return False


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
