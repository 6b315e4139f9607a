"""From no worker at all to a result and back, by the scaler alone, with real workers."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from gateway.client import AsyncClient
from tests.e2e.counting import Books
from tests.e2e.processes import House
from tests.gateway_process import Backstage

pytestmark = [pytest.mark.anyio, pytest.mark.stack]


@pytest.fixture
def settings(catalog: Path, tmp_path: Path) -> dict[str, str]:
    """The scaler's, with a catalog of one model: the other tests' workers are not this scaler's."""
    shutil.copytree(catalog / "doomed", tmp_path / "models" / "doomed")
    return {
        "LEVERET_CATALOG_PATH": str(tmp_path / "models"),
        "LEVERET_SCALER_STATE_DIR": str(tmp_path / "state"),
        "LEVERET_SCALER_INTERVAL_S": "0.3",
        "LEVERET_SCALER_IDLE_S": "1",
    }


async def test_the_first_job_starts_a_worker_and_an_idle_one_leaves(
    client: AsyncClient, house: House, behind: Backstage, books: Books, settings: dict[str, str]
) -> None:
    with house.scaler(**settings) as scaler:
        # Given no worker, when a job comes
        job = await client.submit("doomed", note="first")
        # Then one is started for it, and asked to leave when it has nothing more to do
        await job.wait(timeout_s=60)
        (worker,) = await behind.database.read(
            "select a.worker as id from attempts a where a.job_id::text = $1", job.id
        )
        await scaler.until_logged("scaler.launched")
        gone = "select 1 from workers where id = $1 and state = 'gone' and drain"
        async with asyncio.timeout(60):
            while not await behind.database.read(gone, worker["id"]):
                await asyncio.sleep(0.1)
        scaler.drain()
        assert await scaler.exit_code() == 0
    assert await books.attempts(job.id) == [(1, "succeeded")]
