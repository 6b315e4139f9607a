"""A queue that was made without priorities, and models that no worker knows for a while or for ever.

Ten claims of one job and a thousand copies of its message: `tests/faults/test_copies.py`.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from uuid import UUID

import httpx2
import pytest
from aiormq.abc import AbstractChannel
from pydantic import SecretStr

from gateway.client import JobFailed
from gateway.client.jobs import AsyncJob
from gateway.queues import LOOK_AGAIN_S
from gateway.relay import TICK_S
from shared.adapters.amqp import connect, open_channel
from shared.adapters.store.claims import MODEL_RETRY_S
from shared.catalog import write_index
from shared.jobs import MAX_MISSES
from shared.settings import RabbitMQ
from tests.e2e.processes import WorkerProcess, until
from tests.faults.ground import Ground
from tests.faults.scene import MODEL, QUEUE, Scene, scene
from tests.gateway_process import GatewayProcess, api, gateway_process

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

JOBS = 5
GATEWAYS = 2
REPAIRED_S = LOOK_AGAIN_S + 5
"""Published: submits are taken, and what waited starts. A refused queue is looked at every 15 s; then two
ticks of the relay, the consumer's second, and their connections."""
TRIED_AGAIN_S = MODEL_RETRY_S + TICK_S + 1
"""Published: a job whose model was unknown is queued again after 10 s, at the relay's next tick."""
CLOCKS_S = 0.1
"""The row's and the event's times of one statement differ by less."""
NAME = f"leveret.{QUEUE}"
BODY = {"model": MODEL, "inputs": {"note": {"json": 1}}}


@pytest.fixture(scope="module")
async def stage(
    ground: Ground, stack_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Scene]:
    async with scene(ground, stack_env, tmp_path_factory.mktemp("refusals")) as opened:
        yield opened


@asynccontextmanager
async def broker(ground: Ground) -> AsyncIterator[AbstractChannel]:
    settings = RabbitMQ(url=SecretStr(ground.direct["LEVERET_RABBITMQ_URL"]))
    connection = await connect(settings, name="operator")
    async with connection, open_channel(connection) as channel:
        yield channel


async def test_a_queue_without_priorities_is_named_and_loses_nothing(
    stage: Scene, ground: Ground, tmp_path: Path, measured: list[str]
) -> None:
    async with broker(ground) as channel:
        # Given accepted jobs whose queue somebody makes anew, in another way
        jobs = [await stage.client.submit(MODEL, note=number) for number in range(JOBS)]
        await channel.queue_delete(NAME)
        await channel.queue_declare(NAME, durable=True)
        models = str(stage.house.catalog)
        with (
            gateway_process(stage.house.env, tmp_path, LEVERET_CATALOG_PATH=models) as other,
            stage.house.worker(QUEUE),
        ):
            # And more that come due while no gateway may use it
            jobs += [await stage.client.submit(MODEL, note=number, delay_s=1) for number in range(JOBS)]
            await ground.cut("rabbitmq")
            async with api(other.url, stage.key) as http:
                # When a gateway meets it, submits for it are refused by its name, with the remedy
                refused = [await http.post("/v1/jobs", json=BODY) for _ in range(JOBS)]
                complaints = await _complaints(stage.gateway, other)
                # And when that is done, it serves
                await channel.queue_delete(NAME)
                mended = datetime.now(UTC)
                jobs.append(await stage.client.job(await _until_accepted(http)))
                took = (datetime.now(UTC) - mended).total_seconds()
            await asyncio.gather(*(job.wait(timeout_s=60) for job in jobs))
    started = [datetime.fromisoformat((await job.refresh()).raw["started_at"]) for job in jobs]
    waited = (max(started) - mended).total_seconds()
    assert {(answer.status_code, answer.json()["code"]) for answer in refused} == {(503, "misconfigured")}
    assert all(f"rabbitmqctl delete_queue {NAME}" in answer.json()["detail"] for answer in refused)
    tally = await stage.counted([job.id for job in jobs], runs=len(jobs))
    measured.append(
        f"queue without priorities: {len(refused)} submits refused by name, {complaints} complaints in 5 s"
        f" of {GATEWAYS} gateways, {JOBS} jobs due; submits taken {took:.1f} s, the last job that waited"
        f" started {waited:.1f} s after the repair (<= {REPAIRED_S:g}), {tally}"
    )
    assert 1 <= complaints <= JOBS + GATEWAYS
    assert max(took, waited) <= REPAIRED_S


async def _complaints(*gateways: GatewayProcess) -> int:
    """How often they say so, to five seconds after the first time: a loop would fill the logs."""

    def count() -> int:
        logs = "".join(gateway.log.read_text() for gateway in gateways)
        return logs.count('"queue.refused"') + logs.count('"relay.unpublished"')

    await until(count, why="a gateway complains of the queue")
    await asyncio.sleep(5)
    return count()


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


async def _spaces(stage: Scene, job: AsyncJob) -> list[float]:
    """Seconds from each miss until the job was queued again, as its events tell."""
    rows = await stage.behind.database.read(
        "select type, at from events where job_id = $1 order by seq", UUID(job.id)
    )
    return [
        (after["at"] - miss["at"]).total_seconds()
        for miss, after in pairwise(rows)
        if miss["type"] == "job.retrying"
    ]


def _spaced(spaces: list[float]) -> str:
    """Hold them against what is published."""
    told = f"{len(spaces)} misses, tried again after {min(spaces):.1f} to {max(spaces):.1f} s"
    assert min(spaces) >= MODEL_RETRY_S - CLOCKS_S, told
    assert max(spaces) <= TRIED_AGAIN_S, told
    return f"{told} ({MODEL_RETRY_S:g} to {TRIED_AGAIN_S:g})"


async def test_a_model_deployed_late_is_served_with_its_attempts_unspent(
    stage: Scene, behind_the_times: WorkerProcess, measured: list[str]
) -> None:
    job = await stage.client.submit(MODEL, note=1, max_attempts=1)
    for misses in (1, 2):
        await _misses(stage, job, misses)
        assert (await job.refresh()).raw["attempt"] == 0
    # When the new version is rolled out
    behind_the_times.drain()
    assert await behind_the_times.exit_code() == 0
    with stage.house.worker(QUEUE):
        await job.wait(timeout_s=60)
    # Then it is run, at its first attempt
    assert await stage.books.attempts(job.id) == [(1, "succeeded")]
    tally = await stage.counted([job.id], runs=1)
    measured.append(f"model unknown twice, then deployed: {_spaced(await _spaces(stage, job))}, {tally}")


async def test_an_older_worker_that_does_not_know_the_model_is_not_asked_for_ever(
    stage: Scene, behind_the_times: WorkerProcess, measured: list[str]
) -> None:
    # Given a worker that serves longer than the one that knows the model, and is idle as well
    with stage.house.worker(QUEUE):
        job = await stage.client.submit(MODEL, note=1, max_attempts=1)
        await job.wait(timeout_s=60)
        assert behind_the_times.process.poll() is None
    # Then it is asked once at most: having given the job back it comes after all others
    assert len(await _spaces(stage, job)) <= 1
    assert await stage.books.attempts(job.id) == [(1, "succeeded")]
    tally = await stage.counted([job.id], runs=1)
    measured.append(f"model unknown to the older of two idle workers: {tally}")


HURRIES = [
    pytest.param(True, id="in a hurry"),
    pytest.param(False, id="in its own time", marks=(pytest.mark.slow, pytest.mark.timeout(240))),
]
"""Whether the test ends each wait by hand: for its own time a job takes a minute and a half."""


@pytest.mark.parametrize("hurried", HURRIES)
async def test_a_model_that_nobody_ever_knows_fails_its_job_by_name(
    stage: Scene, behind_the_times: WorkerProcess, measured: list[str], *, hurried: bool
) -> None:
    job = await stage.client.submit(MODEL, note=1)
    for misses in range(1, MAX_MISSES):
        await _misses(stage, job, misses)
        if hurried:
            await _at_once(stage, job)
    with pytest.raises(JobFailed) as failed:
        await job.wait(timeout_s=60)
    assert failed.value.code == "model_unavailable"
    assert behind_the_times.process.poll() is None
    assert (await job.refresh()).raw["attempt"] == 0
    tally = await stage.counted([job.id], runs=0)
    spaces = await _spaces(stage, job)
    assert len(spaces) == MAX_MISSES - 1
    told = "hurried by hand" if hurried else _spaced(spaces)
    measured.append(f"model unknown {MAX_MISSES} times: failed/model_unavailable, {told}, {tally}")
