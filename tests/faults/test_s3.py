"""S3 slow, failing, cutting bodies short: tried again within bounds, and nothing half is ever to be seen.

The same faults at the store's adapter: `tests/contract/test_blobs_faults.py`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import uuid4

import pytest

from deploy.local.seaweedfs import s3_client
from gateway.client import JobFailed
from gateway.client.jobs import AsyncJob
from shared.adapters.blobs import TRIES
from shared.backoff import BASE_S, CAP_S
from tests.chaos.proxy import Weather
from tests.e2e.processes import Gate, WorkerProcess
from tests.faults.ground import Ground
from tests.faults.scene import MODEL, QUEUE, TENANT, Scene, scene
from tests.gateway_process import api

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

SERVER = "seaweedfs"
SIZE = 300_000
OUTPUTS = 2
ATTEMPTS = 20
STRIKES = 8
GIVEN_UP_S = 60.0
"""Published: for a job of two attempts."""
REFUSED_S = 10.0
"""Published: for a submit with bytes."""
SILENT_S = 35.0
"""Published: the same where S3 is silent. Its timeout is 30 s, and more by the body's size."""
HEALED_S = 10.0
"""Published: after S3 works again a job is done within this and the backoff of its last attempt."""
ENDED = {"succeeded", "failed", "canceled", "expired"}
WEATHERS = {
    "slow": Weather(latency_s=(0.05, 0.3)),
    "answering 500": Weather(error_500=True),
    "cutting bodies short": Weather(cut_after=(20_000, 200_000)),
}


@pytest.fixture(scope="module")
async def stage(
    ground: Ground, stack_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Scene]:
    async with scene(ground, stack_env, tmp_path_factory.mktemp("s3")) as opened:
        yield opened


@pytest.fixture(scope="module", autouse=True)
def hand(stage: Scene) -> Iterator[WorkerProcess]:
    with stage.house.worker(QUEUE) as started:
        yield started


@asynccontextmanager
async def looked_at(stage: Scene, job: AsyncJob) -> AsyncIterator[None]:
    """Until the job has ended it shows no outputs, to nobody who looks at any moment."""
    looking = asyncio.create_task(_look(stage, job))
    try:
        yield
        await looking
    finally:
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking


async def _look(stage: Scene, job: AsyncJob) -> None:
    while (seen := await stage.client.read_job(job.id))["state"] not in ENDED:
        assert not seen.get("outputs")
        await asyncio.sleep(0.05)


async def objects(ground: Ground, stage: Scene, job: AsyncJob) -> dict[str, bytes]:
    """All that lies in S3 for a job, of whichever attempt."""
    bucket = stage.house.env["LEVERET_S3_BUCKET"]
    found: dict[str, bytes] = {}
    async with s3_client({**stage.house.env, **ground.direct}) as s3:
        listed: Any = await s3.list_objects_v2(Bucket=bucket, Prefix=f"{TENANT}/{job.id}/")
        for entry in listed.get("Contents", []):
            answer = await s3.get_object(Bucket=bucket, Key=entry["Key"])
            found[f"s3://{bucket}/{entry['Key']}"] = await answer["Body"].read()
    return found


def all_whole(found: dict[str, bytes]) -> None:
    for uri, content in found.items():
        assert len(content) == SIZE or uri.endswith("note.json"), (uri, len(content))
        assert not uri.endswith("note.json") or content.endswith(b"}"), (uri, content)


@pytest.mark.parametrize("fault", WEATHERS)
async def test_a_bad_hour_of_s3_costs_attempts_and_shows_nothing_half(
    stage: Scene, ground: Ground, gate: Gate, fault: str, measured: list[str]
) -> None:
    # Given a job about to store its outputs, and one behind it about to fetch its input
    first = await stage.client.submit(MODEL, note=1, size=SIZE, gate=str(gate.path), max_attempts=ATTEMPTS)
    await gate.until_runs(1)
    second = await stage.client.submit(MODEL, note=2, size=SIZE, blob=b"x" * SIZE, max_attempts=ATTEMPTS)
    before = ground.proxy(SERVER).struck
    async with looked_at(stage, first), looked_at(stage, second):
        await ground.change(SERVER, WEATHERS[fault])
        try:
            gate.open()
            async with asyncio.timeout(60):
                while ground.proxy(SERVER).struck - before < STRIKES:
                    await asyncio.sleep(0.05)
        finally:
            await ground.calm()
        healed = time.monotonic()
        await asyncio.gather(first.wait(timeout_s=100), second.wait(timeout_s=100))
    took = time.monotonic() - healed
    # Then both end well, and every byte is there
    for job in (first, second):
        found = await objects(ground, stage, job)
        all_whole(found)
        for output in (await stage.client.read_job(job.id))["outputs"].values():
            assert hashlib.sha256(found[output["uri"]]).hexdigest() == output["sha256"]
    runs = [await stage.books.attempts(job.id) for job in (first, second)]
    assert [each[-1][1] for each in runs] == ["succeeded"] * 2
    assert {outcome for each in runs for _, outcome in each[:-1]} <= {"waiting"}
    tally = await stage.counted([first.id, second.id], runs=sum(map(len, runs)))
    bound = HEALED_S + max(_backoff_s(len(each) - 1) for each in runs)
    measured.append(
        f"S3 {fault}: attempts {[len(each) for each in runs]}, done {took:.1f} s after it healed"
        f" (<= {bound:g}), {tally}"
    )
    assert took <= bound


def _backoff_s(failed: int) -> float:
    """The longest wait after so many attempts that failed."""
    return min(CAP_S, BASE_S * 2.0 ** (failed - 1)) if failed else 0.0


async def test_s3_that_never_recovers_ends_the_job_after_its_attempts(
    stage: Scene, ground: Ground, gate: Gate, measured: list[str]
) -> None:
    job = await stage.client.submit(MODEL, note=1, size=SIZE, gate=str(gate.path), max_attempts=2)
    await gate.until_runs(1)
    began, before = time.monotonic(), ground.proxy(SERVER).struck
    async with looked_at(stage, job):
        await ground.change(SERVER, Weather(error_500=True))
        try:
            gate.open()
            with pytest.raises(JobFailed) as failed:
                await job.wait(timeout_s=100)
        finally:
            await ground.calm()
    took, requests = time.monotonic() - began, ground.proxy(SERVER).struck - before
    assert failed.value.code == "store_error"
    assert await stage.books.attempts(job.id) == [(1, "waiting"), (2, "failed")]
    assert not (await stage.client.read_job(job.id)).get("outputs")
    all_whole(await objects(ground, stage, job))
    tally = await stage.counted([job.id], runs=2)
    measured.append(
        f"S3 answering 500 for ever: failed/store_error after {took:.1f} s (<= {GIVEN_UP_S:g}) and {requests}"
        f" requests, {tally}"
    )
    assert took <= GIVEN_UP_S
    assert requests <= 2 * OUTPUTS * TRIES
    await (await stage.client.submit(MODEL, note=2)).wait(timeout_s=60)


@pytest.mark.parametrize(
    ("weather", "bound"),
    [
        pytest.param(Weather(error_500=True), REFUSED_S, id="answering 500"),
        pytest.param(Weather(refuse=True), REFUSED_S, id="away"),
        pytest.param(Weather(black_hole=True), SILENT_S, id="silent", marks=pytest.mark.slow),
    ],
)
async def test_without_s3_bytes_are_refused_in_time_and_nothing_else(
    *,
    request: pytest.FixtureRequest,
    stage: Scene,
    ground: Ground,
    weather: Weather,
    bound: float,
    measured: list[str],
) -> None:
    data = base64.b64encode(b"x" * 50_000).decode()
    with_bytes = {"model": MODEL, "inputs": {"note": {"json": 1}, "blob": {"data": data}}}
    without = {"model": MODEL, "inputs": {"note": {"json": 1}}}
    key = {"Idempotency-Key": str(uuid4())}
    async with api(stage.gateway.url, stage.key) as http:
        await ground.change(SERVER, weather)
        await ground.cut(SERVER)
        try:
            began = time.monotonic()
            refused = await http.post("/v1/jobs", json=with_bytes, headers=key, timeout=2 * SILENT_S)
            took = time.monotonic() - began
            taken = await http.post("/v1/jobs", json=without)
        finally:
            await ground.calm()
        # Then nothing was accepted under the key, which is good for the repeat
        repeated = await http.post("/v1/jobs", json=with_bytes, headers=key)
    assert (refused.status_code, refused.json()["code"]) == (503, "store_error"), refused.text
    assert int(refused.headers["retry-after"]) > 0
    assert (taken.status_code, repeated.status_code) == (202, 202)
    ids = [taken.json()["id"], repeated.json()["id"]]
    for id_ in ids:
        await (await stage.client.job(id_)).wait(timeout_s=60)
    tally = await stage.counted(ids)
    how = request.node.callspec.id
    measured.append(f"submit with bytes, S3 {how}: 503 after {took:.1f} s (<= {bound:g}), {tally}")
    assert took <= bound
