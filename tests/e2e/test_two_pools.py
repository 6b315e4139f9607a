"""Two queues, two fleets, one scaler: long jobs one at a time beside short ones many at a time."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.client import AsyncClient
from tests.e2e.counting import Books
from tests.e2e.processes import Gate, House, LoggedProcess
from tests.gateway_process import Backstage
from tests.integration.test_engine_cutout import astronaut

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

QUICK = {"quick": {"device": "cpu", "slots": 3}}


@pytest.fixture
def scaler(house: House, catalog: Path, tmp_path: Path) -> Iterator[LoggedProcess]:
    """One slot for the queue `faults`, three for `quick`; other queues are not this scaler's."""
    for model in ("doomed", "thumbnail"):
        shutil.copytree(catalog / model, tmp_path / "models" / model)
    settings = {
        "LEVERET_CATALOG_PATH": str(tmp_path / "models"),
        "LEVERET_SCALER_STATE_DIR": str(tmp_path / "state"),
        "LEVERET_SCALER_INTERVAL_S": "0.3",
        "LEVERET_SCALER_QUEUES": json.dumps(QUICK),
        "LEVERET_WORKER_SCRATCH": str(tmp_path / "scratch"),
    }
    with house.scaler(**settings) as started:
        yield started


async def test_both_pools_are_served_each_with_its_own_workers(
    client: AsyncClient, scaler: LoggedProcess, behind: Backstage, books: Books, gate: Gate
) -> None:
    # Given a job that holds the only slot of its pool
    long = await client.submit("doomed", inputs={"note": "long"}, params=gate.params)
    await gate.until_runs(1)
    # When short ones come, then they do not wait behind it
    short = [await client.submit("thumbnail", image=png(), size=32) for _ in range(6)]
    for job in short:
        await job.wait(timeout_s=60)
    assert (await client.job(long.id)).state == "running"
    gate.open()
    await long.wait(timeout_s=60)
    # And each pool's worker is as its queue asks
    jobs = [long.id, *(job.id for job in short)]
    assert await pools(behind, jobs) == {("faults", "cpu", 1), ("quick", "cpu", 3)}
    for job_id in jobs:
        assert await books.attempts(job_id) == [(1, "succeeded")]
    scaler.drain()
    assert await scaler.exit_code() == 0


def png() -> bytes:
    file = io.BytesIO()
    astronaut().save(file, "PNG")
    return file.getvalue()


async def pools(behind: Backstage, jobs: list[str]) -> set[tuple[str, str, int]]:
    rows = await behind.database.read(
        "select distinct w.queue, w.device, w.slots from attempts a join workers w on w.id = a.worker"
        " where a.job_id::text = any($1)",
        jobs,
    )
    return {(row["queue"], row["device"], row["slots"]) for row in rows}
