"""One stack for the whole folder: a gateway, a worker for each kind of model, one database to count in."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from examples.models.install import InstallError, install
from gateway.client import AsyncClient
from shared.catalog import write_index
from tests import stack
from tests.e2e.counting import Books
from tests.e2e.processes import Gate, House, WorkerProcess
from tests.gateway_process import Backstage, GatewayProcess, api, backstage, gateway_process

HERE = Path(__file__).parent
TENANT = "e2e"
LOG_TAIL = 6000
_measured: list[str] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """A failure shows what the processes logged."""
    report = yield
    house = getattr(item, "funcargs", {}).get("house")
    if report.failed and house is not None:
        for name, log in house.logs.items():
            if log.exists():
                report.sections.append((name, log.read_text(errors="replace")[-LOG_TAIL:]))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in _measured:
        terminalreporter.write_line(f"e2e: {line}")


@pytest.fixture(scope="session")
def measured() -> list[str]:
    """Lines for the end of the run."""
    return _measured


@pytest.fixture(scope="package")
def stack_env(servers: dict[str, str], migrated_template: str) -> Iterator[dict[str, str]]:
    """As everywhere else, but one for all modules of this folder."""
    assert migrated_template
    with stack.package_env(servers, "e2e", vhost=stack.E2E_VHOST, redis=255) as env:
        yield env


@pytest.fixture(scope="package")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example models beside this folder's own."""
    root = tmp_path_factory.mktemp("catalog")
    try:
        install(root)
    except InstallError as error:
        stack.skip_or_fail(f"the example models can't be fetched here: {error}")
    shutil.copytree(HERE / "models", root, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "cutout" / "u2netp.onnx", root / "endless")
    _clone(root / "gated", "doomed", queue="faults")
    for name in ("dear", "cheap"):
        _clone(root / "gated", name, queue="priced")
    write_index(root)
    return root


def _clone(model: Path, name: str, *, queue: str) -> None:
    """The same algorithm under another name, for workers of its own."""
    copy = shutil.copytree(model, model.parent / name)
    table = (copy / "model.toml").read_text()
    table = table.replace('name = "gated"', f'name = "{name}"').replace('"steady"', f'"{queue}"')
    (copy / "model.toml").write_text(table)


@pytest.fixture(scope="package")
def house(stack_env: dict[str, str], catalog: Path, tmp_path_factory: pytest.TempPathFactory) -> House:
    return House(stack_env, catalog, tmp_path_factory.mktemp("house"))


@pytest.fixture(scope="package")
def gateway(house: House) -> Iterator[GatewayProcess]:
    with gateway_process(house.env, house.folder, LEVERET_CATALOG_PATH=str(house.catalog)) as started:
        house.logs["gateway"] = started.log
        yield started


@pytest.fixture(scope="package")
def images(house: House, gateway: GatewayProcess) -> Iterator[WorkerProcess]:
    """The worker of the ONNX models."""
    assert gateway.url
    with house.worker("images") as started:
        yield started


@pytest.fixture(scope="package")
def steady(house: House, gateway: GatewayProcess) -> Iterator[WorkerProcess]:
    """The worker of the model `gated`; no test may leave it busy."""
    assert gateway.url
    with house.worker("steady") as started:
        yield started


@pytest.fixture(scope="package")
async def behind(house: House, gateway: GatewayProcess) -> AsyncIterator[Backstage]:
    assert gateway.url
    async with backstage(house.env) as opened:
        yield opened


@pytest.fixture(scope="package")
async def key(behind: Backstage) -> str:
    return await behind.key(TENANT, "s3://shelf/e2e/")


@pytest.fixture(scope="package")
async def books(behind: Backstage, measured: list[str]) -> AsyncIterator[Books]:
    """Counts what the database says; at the end, all of it."""
    kept = Books(behind.database)
    yield kept
    tally = await kept.tally()
    measured.append(f"{tally}")
    assert (tally.lost, tally.duplicated) == (0, 0), tally


@pytest.fixture
async def client(gateway: GatewayProcess, key: str, books: Books) -> AsyncIterator[AsyncClient]:
    assert books
    async with AsyncClient(gateway.url, key) as opened:
        yield opened


@pytest.fixture
async def http(gateway: GatewayProcess, key: str, books: Books) -> AsyncIterator[httpx2.AsyncClient]:
    assert books
    async with api(gateway.url, key) as opened:
        yield opened


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """Opened at the end whatever happens, so that no worker stays held."""
    held = Gate(tmp_path / "gate")
    yield held
    held.open()
