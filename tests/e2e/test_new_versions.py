"""A catalog in a bucket changes under a gateway and a worker that go on: every version runs its own jobs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.client import AsyncClient, AsyncJob
from shared.adapters.blobs import Blobs, open_blobs
from shared.adapters.publish import publish, withdraw
from shared.settings import S3
from tests.e2e.counting import Books
from tests.e2e.processes import Gate, House, WorkerProcess
from tests.gateway_process import gateway_process

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

GATED = Path(__file__).parent / "models" / "gated"
JOBS = 20
LOOK_S = "0.4"


@dataclass(frozen=True, slots=True)
class Shop:
    """A bucket's catalog, and the folder from which it is published."""

    blobs: Blobs
    root: str
    local: Path

    async def publish(self, version: str, *, name: str = "turning") -> None:
        """The gated algorithm under this version, which its result names; its queue has its name."""
        folder = self.local / f"{name}@{version}"
        folder.mkdir(parents=True, exist_ok=True)
        table = (GATED / "model.toml").read_text()
        for old, new in (
            ('name = "gated"', f'name = "{name}"'),
            ('"steady"', f'"{name}"'),
            ('version = "1"', f'version = "{version}"'),
        ):
            assert old in table
            table = table.replace(old, new)
        (folder / "model.toml").write_text(table)
        code = (GATED / "gated.py").read_text().replace("return note", f'return {{"by": "{version}"}}')
        (folder / "gated.py").write_text(code)
        await publish(self.blobs, self.root, folder)

    async def withdraw(self, version: str) -> None:
        await withdraw(self.blobs, self.root, f"turning@{version}")


@pytest.fixture
async def shop(stack_env: dict[str, str], tmp_path: Path) -> AsyncIterator[Shop]:
    fields: dict[str, Any] = {
        name.removeprefix("LEVERET_S3_").lower(): value
        for name, value in stack_env.items()
        if name.startswith("LEVERET_S3_")
    }
    async with open_blobs(S3(**fields)) as blobs:
        root = f"s3://{stack_env['LEVERET_S3_BUCKET']}/{tmp_path.name}/catalog"
        opened = Shop(blobs, root, tmp_path / "published")
        await opened.publish("1")
        yield opened


@pytest.fixture
def settings(shop: Shop, tmp_path: Path) -> dict[str, str]:
    return {
        "LEVERET_CATALOG_PATH": shop.root,
        "LEVERET_CATALOG_CACHE": str(tmp_path / "cache"),
        "LEVERET_CATALOG_REFRESH_S": LOOK_S,
    }


@pytest.fixture
async def caller(
    house: House, settings: dict[str, str], tmp_path: Path, key: str, books: Books
) -> AsyncIterator[AsyncClient]:
    assert books
    with gateway_process(house.env, tmp_path, **settings) as gateway:
        house.logs["gateway-turning"] = gateway.log
        async with AsyncClient(gateway.url, key) as client:
            yield client


@pytest.fixture
def worker(house: House, caller: AsyncClient, settings: dict[str, str]) -> Iterator[WorkerProcess]:
    assert caller
    with house.worker("turning", env=settings) as started:
        yield started


async def offered(client: AsyncClient, *versions: str, name: str = "turning") -> None:
    """Wait until the gateway offers just these versions of this model."""
    found: set[str] = set()
    while found != set(versions):
        found = {model["version"] for model in await client.models() if model["name"] == name}


async def makers(jobs: list[AsyncJob]) -> list[str]:
    """The version that made each job's result."""
    made = []
    for job in jobs:
        await job.wait()
        made.append(json.loads(await job.outputs["note"].bytes())["by"])
    return made


async def test_a_new_version_comes_while_jobs_of_the_old_one_run(
    shop: Shop, caller: AsyncClient, worker: WorkerProcess, gate: Gate, books: Books
) -> None:
    # Given a running job of version 1, and others behind it
    held = await caller.submit("turning", note=0, params=gate.params)
    await gate.until_runs(1)
    old = [await caller.submit("turning", note=number) for number in range(JOBS)]
    # When version 2 is published, and jobs come for either
    await shop.publish("2")
    await offered(caller, "1", "2")
    new = [await caller.submit("turning", note=number) for number in range(JOBS)]
    named = [await caller.submit("turning@1", note=number) for number in range(JOBS)]
    await worker.until_logged("catalog.offered", models=["turning@1", "turning@2"])
    gate.open()
    # Then each is run by its own version, once, and none waited for a worker that knows it
    assert await makers([held, *old]) == ["1"] * (JOBS + 1)
    assert await makers(new) == ["2"] * JOBS
    assert await makers(named) == ["1"] * JOBS
    tally = await books.tally([job.id for job in (held, *old, *new, *named)])
    assert (tally.accepted, tally.lost, tally.duplicated, tally.runs) == (3 * JOBS + 1, 0, 0, 3 * JOBS + 1)
    assert worker.logged("model.unknown") is None
    assert worker.process.poll() is None


async def test_a_version_that_is_withdrawn_and_comes_back_loses_no_job(
    shop: Shop, caller: AsyncClient, worker: WorkerProcess, gate: Gate, books: Books
) -> None:
    # Given a job of version 1 that is queued behind one of version 2
    await shop.publish("2")
    await offered(caller, "1", "2")
    held = await caller.submit("turning", note=0, params=gate.params)
    await gate.until_runs(1)
    waiting = await caller.submit("turning@1", note=1)
    # When version 1 is withdrawn before it is its turn, and comes back later
    await shop.withdraw("1")
    await offered(caller, "2")
    await worker.until_logged("catalog.offered", models=["turning@2"])
    gate.open()
    await worker.until_logged("model.unknown", job_id=waiting.id)
    await shop.publish("1")
    # Then it has waited, and has run
    assert await makers([held, waiting]) == ["2", "1"]
    tally = await books.tally([held.id, waiting.id])
    assert (tally.lost, tally.duplicated, tally.runs) == (0, 0, 2)


async def test_a_model_on_a_new_queue_is_accepted_before_its_first_worker(
    shop: Shop, caller: AsyncClient, house: House, settings: dict[str, str]
) -> None:
    await shop.publish("1", name="late")
    await offered(caller, "1", name="late")

    job = await caller.submit("late", note=1)
    assert job.raw["queue"] == "late"
    with house.worker("late", env=settings):
        assert await makers([job]) == ["1"]


async def test_a_broken_catalog_stops_nobody(shop: Shop, caller: AsyncClient, worker: WorkerProcess) -> None:
    good = b"".join([piece async for piece in shop.blobs.stream(f"{shop.root}/index.json")])
    await shop.blobs.put_bytes(f"{shop.root}/index.json", b"{", "application/json")
    await worker.until_logged("catalog.wrong")

    assert await makers([await caller.submit("turning", note=1)]) == ["1"]

    await shop.blobs.put_bytes(f"{shop.root}/index.json", good, "application/json")
    assert worker.process.poll() is None
