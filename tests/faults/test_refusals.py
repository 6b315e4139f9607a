"""A queue that was made without priorities, and models that no worker knows for a while or for ever.

Ten claims of one job: `tests/integration/test_store.py`; a thousand copies of one: `tests/e2e/test_once.py`.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import httpx2
import pytest
from aiormq.abc import AbstractChannel
from pydantic import SecretStr

from gateway.client import JobFailed
from gateway.client.jobs import AsyncJob
from gateway.queues import LOOK_AGAIN_S
from shared.adapters.amqp import connect, open_channel
from shared.catalog import write_index
from shared.jobs import MAX_MISSES
from shared.settings import RabbitMQ
from tests.e2e.processes import WorkerProcess
from tests.faults.ground import Ground
from tests.faults.scene import MODEL, QUEUE, Scene, scene
from tests.gateway_process import GatewayProcess, api, gateway_process

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

JOBS = 5
NAME = f"leveret.{QUEUE}"
BODY = {"model": MODEL, "inputs": {"note": {"json": 1}}}


@pytest.fixture(scope="module")
async def stage(
    ground: Ground, stack_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Scene]:
    async with scene(ground, stack_env, tmp_path_factory.mktemp("refusals")) as opened:
        yield opened


@asynccontextmanager
async def broker(stage: Scene) -> AsyncIterator[AbstractChannel]:
    settings = RabbitMQ(url=SecretStr(stage.house.env["LEVERET_RABBITMQ_URL"]))
    connection = await connect(settings, name="operator")
    async with connection, open_channel(connection) as channel:
        yield channel


async def test_a_queue_without_priorities_is_named_and_loses_nothing(
    stage: Scene, tmp_path: Path, measured: list[str]
) -> None:
    async with broker(stage) as channel:
        # Given accepted jobs whose queue somebody makes anew, in another way
        jobs = [await stage.client.submit(MODEL, note=number) for number in range(JOBS)]
        await channel.queue_delete(NAME)
        await channel.queue_declare(NAME, durable=True)
        models = str(stage.house.catalog)
        with gateway_process(stage.house.env, tmp_path, LEVERET_CATALOG_PATH=models) as other:
            async with api(other.url, stage.key) as http:
                # When a gateway meets it, submits for it are refused by its name, with the remedy
                refused = [await http.post("/v1/jobs", json=BODY) for _ in range(JOBS)]
                await stage.behind.database.write(
                    "update jobs set publish_due = now() where id = any($1)", [UUID(job.id) for job in jobs]
                )
                complaints = await _complaints(other)
                # And when that is done, it serves
                await channel.queue_delete(NAME)
                mended = time.monotonic()
                accepted = await _until_accepted(http)
                took = time.monotonic() - mended
            with stage.house.worker(QUEUE):
                jobs.append(await stage.client.job(accepted))
                await stage.behind.database.write(
                    "update jobs set publish_due = now() where state = 'queued' and queue = $1", QUEUE
                )
                await asyncio.gather(*(job.wait(timeout_s=60) for job in jobs))
    assert {(answer.status_code, answer.json()["code"]) for answer in refused} == {(503, "misconfigured")}
    assert all(f"rabbitmqctl delete_queue {NAME}" in answer.json()["detail"] for answer in refused)
    assert complaints <= 2 * JOBS
    tally = await stage.counted([job.id for job in jobs], runs=JOBS + 1)
    measured.append(
        f"queue without priorities: {len(refused)} submits refused by name, {complaints} complaints in 5 s, "
        f"served {took:.1f} s after the repair, {tally}"
    )
    assert took <= LOOK_AGAIN_S + 5


async def _complaints(gateway: GatewayProcess) -> int:
    """How often it said within five seconds that it cannot publish: a loop would fill the log."""
    await asyncio.sleep(5)
    return gateway.log.read_text().count('"relay.unpublished"')


async def _until_accepted(http: httpx2.AsyncClient) -> str:
    async with asyncio.timeout(60):
        while (answer := await http.post("/v1/jobs", json=BODY)).status_code != 202:
            await asyncio.sleep(0.2)
    return str(answer.json()["id"])


@pytest.fixture
def behind_the_times(stage: Scene, tmp_path: Path) -> Iterator[WorkerProcess]:
    """A worker of the queue, with a catalog from before the model."""
    catalog = shutil.copytree(stage.house.catalog, tmp_path / "older")
    older = (catalog / MODEL).rename(catalog / "older")
    table = (older / "model.toml").read_text()
    (older / "model.toml").write_text(table.replace(f'name = "{MODEL}"', 'name = "older"', 1))
    write_index(catalog)
    with replace(stage.house, catalog=catalog).worker(QUEUE) as started:
        yield started


async def _misses(stage: Scene, job: AsyncJob, count: int) -> None:
    """Wait until it has met so many workers that do not know it."""
    async with asyncio.timeout(60):
        while True:
            rows = await stage.behind.database.read("select misses from jobs where id = $1", UUID(job.id))
            if rows[0]["misses"] >= count:
                return
            await asyncio.sleep(0.05)


async def _at_once(stage: Scene, job: AsyncJob) -> None:
    """Its ten seconds are over."""
    await stage.behind.database.write(
        "update jobs set run_at = now() where id = $1 and state = 'waiting'", UUID(job.id)
    )


async def test_a_model_deployed_late_is_served_with_its_attempts_unspent(
    stage: Scene, behind_the_times: WorkerProcess, measured: list[str]
) -> None:
    job = await stage.client.submit(MODEL, note=1, max_attempts=1)
    for misses in (1, 2):
        await _misses(stage, job, misses)
        assert (await job.refresh()).raw["attempt"] == 0
        if misses == 1:
            await _at_once(stage, job)
    # When the new version is rolled out
    with stage.house.worker(QUEUE):
        behind_the_times.drain()
        assert await behind_the_times.exit_code() == 0
        await _at_once(stage, job)
        await job.wait(timeout_s=60)
    # Then it is run, at its first attempt
    assert await stage.books.attempts(job.id) == [(1, "succeeded")]
    tally = await stage.counted([job.id], runs=1)
    measured.append(f"model unknown twice, then deployed: {tally}")


async def test_a_model_that_nobody_ever_knows_fails_its_job_by_name(
    stage: Scene, behind_the_times: WorkerProcess, measured: list[str]
) -> None:
    job = await stage.client.submit(MODEL, note=1)
    for misses in range(1, MAX_MISSES):
        await _misses(stage, job, misses)
        await _at_once(stage, job)
    with pytest.raises(JobFailed) as failed:
        await job.wait(timeout_s=60)
    assert failed.value.code == "model_unavailable"
    assert behind_the_times.process.poll() is None
    assert (await job.refresh()).raw["attempt"] == 0
    tally = await stage.counted([job.id])
    measured.append(f"model unknown {MAX_MISSES} times: failed/model_unavailable, {tally}")
