"""A gateway that ends in the middle of submits and streams, with a replica beside it.

A single socket that resumes at the other one by its cursor: `tests/e2e/test_push.py`.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from tests.chaos.proxy import Weather
from tests.e2e.processes import Gate, WorkerProcess
from tests.faults.ground import Ground
from tests.faults.scene import MODEL, QUEUE, WHOLE, Scene, Seen, read, scene
from tests.gateway_process import GatewayProcess, api, gateway_process, open_socket

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

SUBMITS = 20
FOLLOWERS = 5
RESUMED_S = 5.0
"""Published: a stream is whole again at another gateway."""
RESTARTS = 1012


@pytest.fixture(scope="module")
async def stage(
    ground: Ground, stack_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Scene]:
    async with scene(ground, stack_env, tmp_path_factory.mktemp("gateway")) as opened:
        yield opened


@pytest.fixture(scope="module", autouse=True)
def hand(stage: Scene) -> Iterator[WorkerProcess]:
    with stage.house.worker(QUEUE, slots="4") as started:
        yield started


@pytest.fixture
def leaving(stage: Scene, tmp_path: Path) -> Iterator[GatewayProcess]:
    """The one that ends; the scene's own stays."""
    with gateway_process(stage.house.env, tmp_path, LEVERET_CATALOG_PATH=str(stage.house.catalog)) as started:
        yield started


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_streams_resume_at_the_replica(
    stage: Scene, leaving: GatewayProcess, gate: Gate, how: signal.Signals, measured: list[str]
) -> None:
    job = await stage.client.submit(MODEL, note=1, gate=str(gate.path))
    seen = [Seen() for _ in range(FOLLOWERS)]
    # Given followers of a running job at the gateway that ends
    async with AsyncExitStack() as stack:
        opened = [open_socket(leaving.url, stage.key, job.id) for _ in seen]
        sockets = [await stack.enter_async_context(each) for each in opened]
        await asyncio.gather(*(read(*each, 2) for each in zip(sockets, seen, strict=True)))
        leaving.process.send_signal(how)
        await asyncio.gather(*(read(*each) for each in zip(sockets, seen, strict=True)))
    codes = [each.code for each in seen]
    # When they come to the other one with their cursors
    began = time.monotonic()
    gate.open()
    await asyncio.gather(*(_resume(stage, job.id, each) for each in seen))
    took = time.monotonic() - began
    # Then each had every event once
    assert codes == [RESTARTS if how is signal.SIGTERM else None] * FOLLOWERS
    assert [each.types for each in seen] == [WHOLE] * FOLLOWERS
    assert [each.seqs for each in seen] == [[1, 2, 3]] * FOLLOWERS
    tally = await stage.counted([job.id], runs=1)
    measured.append(
        f"gateway ended by {how.name}: streams whole at the replica after {took:.2f} s (<= {RESUMED_S:g}),"
        f" {tally}"
    )
    assert took <= RESUMED_S


async def _resume(stage: Scene, job_id: str, seen: Seen) -> None:
    async with open_socket(stage.gateway.url, stage.key, job_id, seen.seqs[-1]) as again:
        await read(again, seen)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_submits_repeated_at_the_replica_are_one_job_each(
    stage: Scene, leaving: GatewayProcess, ground: Ground, how: signal.Signals, measured: list[str]
) -> None:
    keys = [str(uuid4()) for _ in range(2 * SUBMITS)]
    async with api(leaving.url, stage.key) as http:
        early = await asyncio.gather(*(_try(http, key) for key in keys[:SUBMITS]))
        # Given a gateway that ends while submits that it has committed wait for the broker's confirm
        await ground.change("rabbitmq", Weather(black_hole=True))
        try:
            trying = [asyncio.create_task(_try(http, key)) for key in keys[SUBMITS:]]
            await _until_committed(stage, keys[SUBMITS:])
            leaving.process.send_signal(how)
            late = await asyncio.gather(*trying)
        finally:
            await ground.calm()
    answered = {key: job for key, job in zip(keys, [*early, *late], strict=True) if job}
    # When each is repeated at the other one under its key
    async with api(stage.gateway.url, stage.key) as http:
        repeated = {key: await _try(http, key) for key in keys}
    # Then there is one job for each, and those answered before are the same
    assert {key: job["id"] for key, job in repeated.items() if job and key in answered} == {
        key: job["id"] for key, job in answered.items()
    }
    ids = [job["id"] for job in repeated.values() if job]
    assert len(set(ids)) == len(keys)
    for id_ in ids:
        await (await stage.client.job(id_)).wait(timeout_s=60)
    tally = await stage.counted(ids, runs=len(keys))
    unheard = len(keys) - len(answered)
    measured.append(
        f"gateway ended by {how.name} during {len(keys)} submits: {unheard} had no answer and were a job,"
        f" {tally}"
    )
    assert unheard == 0 if how is signal.SIGTERM else unheard >= SUBMITS // 2


async def _until_committed(stage: Scene, keys: list[str]) -> None:
    """Within the second for which their answers wait."""
    async with asyncio.timeout(10):
        while True:
            rows = await stage.behind.database.read(
                "select id from specs where idempotency_key = any($1)", keys
            )
            if len(rows) == len(keys):
                return
            await asyncio.sleep(0.01)


async def _try(http: httpx2.AsyncClient, key: str) -> dict[str, Any] | None:
    """The job, or None where the answer stayed away or told to come again."""
    body = {"model": MODEL, "inputs": {"note": {"json": key}}}
    try:
        answer = await http.post("/v1/jobs", json=body, headers={"Idempotency-Key": key})
    except httpx2.TransportError:
        return None
    assert answer.status_code in {200, 202, 503}, answer.text
    job: dict[str, Any] = answer.json()
    return job if answer.status_code != 503 else None
