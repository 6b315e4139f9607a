"""How soon a running graph ends once somebody canceled it, with Redis and without."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from io import BytesIO

import pytest
from PIL import Image

from examples.models.install import InstallError, install
from gateway.client import JobCanceled
from shared.adapters.bus import SILENCE_S
from shared.catalog import write_index
from tests import stack
from tests.chaos.proxy import Weather
from tests.e2e.conftest import HERE
from tests.e2e.processes import WorkerProcess
from tests.faults.ground import Ground
from tests.faults.scene import Scene, scene

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

TIMES = 3
BOUNDS_S = {"with Redis": 1.0, "without Redis": 6.0}
"""Published, besides the node of the graph that is being computed: one of this model takes some 10 ms."""


@pytest.fixture(scope="module")
async def stage(
    ground: Ground, stack_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Scene]:
    folder = tmp_path_factory.mktemp("cancel")
    catalog = folder / "catalog"
    try:
        install(catalog, ("cutout",))
    except InstallError as error:
        stack.skip_or_fail(f"the example models can't be fetched here: {error}")
    shutil.copytree(HERE / "models" / "endless", catalog / "endless")
    shutil.copy(catalog / "cutout" / "u2netp.onnx", catalog / "endless")
    write_index(catalog)
    async with scene(ground, stack_env, folder, catalog=catalog) as opened:
        yield opened


@pytest.fixture(scope="module")
def hand(stage: Scene) -> Iterator[WorkerProcess]:
    with stage.house.worker("images") as started:
        yield started


@pytest.mark.parametrize("how", BOUNDS_S)
async def test_a_canceled_graph_ends_in_time(
    stage: Scene, hand: WorkerProcess, ground: Ground, how: str, measured: list[str]
) -> None:
    picture = BytesIO()
    Image.new("RGB", (64, 64), "red").save(picture, "PNG")
    ids, took = [], []
    for _ in range(TIMES):
        job = await stage.client.submit("endless", image=picture.getvalue(), timeout_s=30)
        async for event in job.events(after=0):
            if event.type == "job.progress":
                break
        try:
            if how == "without Redis":
                await ground.change("redis", Weather(black_hole=True))
            asked = datetime.now(UTC)
            await job.cancel()
            with pytest.raises(JobCanceled):
                await job.wait(timeout_s=60)
        finally:
            await ground.calm()
            if how == "without Redis":
                await asyncio.sleep(
                    SILENCE_S + 1
                )  # until progress is pushed again: the sign that a graph runs
        ended = datetime.fromisoformat((await job.refresh()).raw["finished_at"])
        took.append((ended - asked).total_seconds())
        assert await stage.books.attempts(job.id) == [(1, "canceled")]
        ids.append(job.id)
    assert hand.process.poll() is None
    tally = await stage.counted(ids, runs=TIMES)
    bound_s = BOUNDS_S[how]
    measured.append(f"running graph canceled {how}: ended {max(took):.2f} s later (≤ {bound_s:g} s), {tally}")
    assert max(took) <= bound_s
