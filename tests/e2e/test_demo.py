"""`leveret demo kill`, for real: a scaler's workers die in the midst of their jobs; the rows are counted."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from shared.catalog import write_index
from tests.e2e.counting import Books, Tally
from tests.e2e.processes import House
from tests.gateway_process import Backstage, GatewayProcess, gateway_process
from tests.stack import ROOT, process_environment

pytestmark = [pytest.mark.anyio, pytest.mark.stack, pytest.mark.timeout(240)]

KILLS = 2
QUEUE = "killing"


@pytest.fixture
def catalog_of_one(catalog: Path, tmp_path: Path) -> Path:
    """The cut-out in a queue of its own: nobody else's workers may be killed."""
    root = tmp_path / "models"
    shutil.copytree(catalog / "cutout", root / "cutout")
    table = root / "cutout" / "model.toml"
    table.write_text(table.read_text().replace('queue = "images"', f'queue = "{QUEUE}"'))
    write_index(root)
    return root


@pytest.fixture
async def served(house: House, catalog_of_one: Path, tmp_path: Path) -> AsyncIterator[GatewayProcess]:
    """A gateway and a scaler of this catalog; no worker yet."""
    own = House(house.env, catalog_of_one, tmp_path, house.logs)
    scaler = {
        "LEVERET_SCALER_STATE_DIR": str(tmp_path / "state"),
        "LEVERET_SCALER_LOG_DIR": str(tmp_path / "workers"),
        "LEVERET_SCALER_INTERVAL_S": "0.5",
        "LEVERET_WORKER_SCRATCH": str(tmp_path / "scratch"),
    }
    with (
        gateway_process(house.env, tmp_path, LEVERET_CATALOG_PATH=str(catalog_of_one)) as gateway,
        own.scaler(**scaler) as started,
    ):
        yield gateway
        started.drain()
        assert await started.exit_code() == 0


async def command(*words: str, env: Mapping[str, str]) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.client", *words),
        cwd=ROOT,
        env=process_environment(env),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, complained = await process.communicate()
    return int(process.returncode or 0), printed.decode(), complained.decode()


@pytest.fixture
async def key(behind: Backstage) -> str:
    return await behind.keys.create("demo", "test", "operator")


async def test_killed_workers_lose_nothing_and_double_nothing(
    served: GatewayProcess, key: str, books: Books, measured: list[str]
) -> None:
    target = {"LEVERET_URL": served.url, "LEVERET_API_KEY": key}
    code, printed, complained = await command("demo", "kill", "--times", str(KILLS), "--json", env=target)

    # Then it says that every worker was killed, and that nothing was lost or doubled
    assert code == 0, (printed, complained)
    document: dict[str, Any] = json.loads(printed)
    measured.append(f"demo kill: { ({name: document[name] for name in document if name != 'jobs'}) }")
    assert (document["killed"], document["lost"], document["twice"]) == (KILLS, 0, 0)
    # And the rows say so too
    hit = [job for job in document["jobs"] if job["killed"] is not None]
    assert await books.tally([job["job_id"] for job in document["jobs"]]) == Tally(
        accepted=document["accepted"], lost=0, duplicated=0, runs=document["accepted"] + KILLS
    )
    for job in hit:
        assert await books.attempts(job["job_id"]) == [(1, "worker_lost"), (2, "succeeded")]
        # Claim, lost lease, claim: the dead worker's fence is two behind
        assert (job["fence"], job["result_fence"]) == (1, 3)
    assert len({job["killed"] for job in hit}) == KILLS


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_without_a_gateway_a_private_stack_is_started_and_removed() -> None:
    before = set(Path("/var/tmp").glob("leveret-demo-*"))  # noqa: S108  where it makes its folder

    code, printed, complained = await command("demo", "kill", env={"HOME": str(Path.home())})

    assert code == 0, (printed, complained)
    assert "lost 0 · twice 0    (1 worker killed" in printed
    assert {"gateway", "kill", "scaler", "relay", "result"} <= set(printed.split())
    assert set(Path("/var/tmp").glob("leveret-demo-*")) == before  # noqa: S108  idem
