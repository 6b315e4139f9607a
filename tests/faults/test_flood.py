"""A flood of priority 10, which priority 0 has to come through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import datetime

import pytest

from gateway.client.jobs import AsyncJob
from gateway.redelivery import LOOK_S
from gateway.relay import TICK_S
from tests.e2e.processes import WorkerProcess
from tests.faults.ground import Ground
from tests.faults.scene import MODEL, QUEUE, Scene, scene

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

AGING_S = 6.0
"""In place of the hour that is usual for priority 0."""
WAITING = 8
JOB_S = 0.3
AHEAD_S = 3 * WAITING * JOB_S
"""The flood's jobs that were there before the promotion run before it; each costs some more than it takes."""
BOUND_S = AGING_S + LOOK_S + TICK_S + AHEAD_S


@pytest.fixture(scope="module")
async def stage(
    ground: Ground, stack_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Scene]:
    folder = tmp_path_factory.mktemp("flood")
    async with scene(ground, stack_env, folder, LEVERET_GATEWAY_AGING_LOW_S=str(AGING_S)) as opened:
        yield opened


@pytest.fixture(scope="module", autouse=True)
def hand(stage: Scene) -> Iterator[WorkerProcess]:
    with stage.house.worker(QUEUE) as started:
        yield started


async def test_priority_0_starts_within_the_aging_bound(stage: Scene, measured: list[str]) -> None:
    flood: list[AsyncJob] = []
    over = asyncio.Event()
    # Given so much of priority 10 at any moment that nothing else would ever run
    async with asyncio.TaskGroup() as tasks:
        for _ in range(WAITING):
            tasks.create_task(_flood(stage, flood, over))
        while len(flood) < WAITING:
            await asyncio.sleep(0.02)
        # When a job of priority 0 comes, it runs while the flood goes on
        low = await stage.client.submit(MODEL, note="low", priority=0)
        try:
            await low.wait(timeout_s=2 * BOUND_S)
        finally:
            over.set()
    # Then it has waited no longer than it may
    started = _at((await low.refresh()).raw["started_at"])
    waited = (started - _at(low.raw["created_at"])).total_seconds()
    starts = [_at((await job.refresh()).raw["started_at"]) for job in flood]
    overtaken_by = sum(other < started for other in starts)
    tally = await stage.counted([low.id, *(job.id for job in flood)], runs=1 + len(flood))
    measured.append(
        f"flood of priority 10, aging bound {AGING_S:g} s: priority 0 waited {waited:.1f} s "
        f"(bound with the look and those ahead {BOUND_S:.1f} s) behind {overtaken_by} jobs, {tally}"
    )
    assert overtaken_by > WAITING
    assert AGING_S <= waited <= BOUND_S


async def _flood(stage: Scene, flood: list[AsyncJob], over: asyncio.Event) -> None:
    """One job after the other until it is over."""
    while not over.is_set():
        job = await stage.client.submit(MODEL, note=1, priority=10, seconds=JOB_S)
        flood.append(job)
        await job.wait(timeout_s=60)


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)
