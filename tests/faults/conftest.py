"""One stack for the whole folder, as in tests/e2e, on servers of its own that may be killed."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.client import AsyncClient
from gateway.relay import LEASE_GRACE_S
from shared.catalog import write_index
from shared.errors import Unavailable
from tests import stack
from tests.e2e.conftest import (
    books,
    client,
    gate,
    gateway,
    house,
    http,
    key,
    pytest_runtest_makereport,
    steady,
)
from tests.e2e.counting import Books, Tally
from tests.e2e.processes import House
from tests.faults.ground import Ground
from tests.faults.scene import counted
from tests.gateway_process import Backstage, GatewayProcess, backstage

__all__ = [
    "books",
    "client",
    "gate",
    "gateway",
    "house",
    "http",
    "key",
    "pytest_runtest_makereport",
    "steady",
]

MODELS = Path(__file__).parent.parent / "e2e" / "models"
QUEUES = {"gated": "steady", "doomed": "faults", "lonely": "apart"}
"""The same algorithm by the names of its models, each with a queue and so with workers of its own."""
_measured: list[str] = []


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call() -> Any:
    """No fault is tested without a count of what it cost, and none is counted in silence."""
    before = len(_measured)
    answer = yield
    assert any("Tally(" in line for line in _measured[before:]), "this test printed no tally"
    return answer


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in _measured:
        terminalreporter.write_line(f"faults: {line}")


@pytest.fixture(scope="session")
def measured() -> list[str]:
    """Lines for the end of the run: the worst that was seen."""
    return _measured


@pytest.fixture(scope="package")
def ground() -> Iterator[Ground]:
    """Servers that may be killed; a test that harms one leaves it serving."""
    stack.remove_abandoned()
    folder = Path(tempfile.mkdtemp(prefix=stack.PREFIX, dir=stack.FOLDERS))
    folder.chmod(0o755)
    opened = Ground(folder)
    try:
        opened.start()
        yield opened
    finally:
        opened.stop()


@pytest.fixture(scope="package")
def stack_env(ground: Ground) -> dict[str, str]:
    """Through the proxies; migrated, with a bucket."""
    subprocess.run(
        [sys.executable, "-m", "shared.adapters.store.migrate"],
        check=True,
        cwd=stack.ROOT,
        timeout=60,
        env=stack.process_environment({"LEVERET_POSTGRES_DSN": ground.direct["LEVERET_POSTGRES_DSN"]}),
    )
    bucket = {"LEVERET_S3_BUCKET": "faults"}
    asyncio.run(stack.make_bucket({**ground.direct, **bucket}))
    return {**ground.settings, **bucket}


@pytest.fixture(scope="package")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("catalog")
    for name, queue in QUEUES.items():
        copy = shutil.copytree(MODELS / "gated", root / name, ignore=shutil.ignore_patterns("__pycache__"))
        table = (copy / "model.toml").read_text()
        table = table.replace('"gated"', f'"{name}"', 1).replace('"steady"', f'"{queue}"')
        (copy / "model.toml").write_text(table.replace("timeout_s = 100", "timeout_s = 900"))
    write_index(root)
    return root


@pytest.fixture(scope="package")
async def behind(
    ground: Ground, gateway: GatewayProcess, stack_env: dict[str, str]
) -> AsyncIterator[Backstage]:
    """What the rows say, by a way that no proxy is on."""
    assert gateway.url
    async with backstage({**stack_env, **ground.direct}) as opened:
        yield opened


@dataclass(frozen=True, slots=True)
class Stage:
    """What every test here needs.

    Attributes:
        house: Starts workers.
        client: Submits.
        books: Counts.
        ground: The servers.
        behind: The rows.
        gateway: The one that all have in common.
        measured: Lines for the end of the run.
    """

    house: House
    client: AsyncClient
    books: Books
    ground: Ground
    behind: Backstage
    gateway: GatewayProcess
    measured: list[str]

    async def counted(self, ids: Sequence[str], *, runs: int | None = None) -> Tally:
        """The tally of these jobs, of which none is lost or doubled."""
        return await counted(self.books, ids, runs=runs)

    async def relay_may_judge(self) -> None:
        """Wait out the grace: no lease is judged just after a start of PostgreSQL or of the gateway."""
        rows = await self.behind.database.read("select pg_postmaster_start_time() as at")
        first = json.loads(self.gateway.log.read_text().splitlines()[0])
        started = max(datetime.fromisoformat(first["timestamp"]), rows[0]["at"])
        rest = LEASE_GRACE_S + 2 - (datetime.now(UTC) - started).total_seconds()
        await asyncio.sleep(max(0.0, rest))

    async def eyes_open(self) -> None:
        """Wait until the tests' own connections to a restarted PostgreSQL and Redis work again."""
        async with asyncio.timeout(30):
            for look in (self.behind.database.ping, self.behind.bus.ping):
                while not await _works(look):
                    await asyncio.sleep(0.05)


async def _works(look: Callable[[], Awaitable[None]]) -> bool:
    try:
        await look()
    except Unavailable:
        return False
    return True


@pytest.fixture
async def stage(
    *,
    house: House,
    client: AsyncClient,
    books: Books,
    ground: Ground,
    behind: Backstage,
    gateway: GatewayProcess,
    measured: list[str],
) -> AsyncIterator[Stage]:
    """Set; with fine weather at the end whatever happens."""
    yield Stage(house, client, books, ground, behind, gateway, measured)
    await ground.calm()
