"""What a heartbeat says of work that comes and goes between two beats."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from gpu_worker.heartbeat import Heartbeat
from gpu_worker.ports import WorkerState

pytestmark = pytest.mark.anyio


@dataclass
class Beats:
    told: list[int] = field(default_factory=list)

    async def beat(self, state: WorkerState, *, busy: int) -> bool:
        assert state == "starting"
        self.told.append(busy)
        return False


async def test_a_stream_of_short_jobs_is_not_idleness() -> None:
    beats = Beats()
    heartbeat = Heartbeat(beats, busy=lambda: 0, drain=lambda: None)

    await heartbeat.beat()
    for _ in range(2):
        heartbeat.notice()  # a job came
        heartbeat.notice()  # and went, before the next beat
        await heartbeat.beat()
    await heartbeat.beat()

    assert beats.told == [0, 1, 1, 0]
