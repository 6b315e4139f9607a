"""A real browser at a real gateway, with real workers: one stack for all, a clean browser for each test."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx2
import pytest
from playwright.async_api import Browser, Page, async_playwright

from deploy import dashboard
from shared.catalog import write_index
from tests import stack
from tests.dashboard.visitor import Visitor
from tests.e2e.processes import Gate, House, WorkerProcess
from tests.gateway_process import Backstage, GatewayProcess, api, backstage, gateway_process

HERE = Path(__file__).parent
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
TENANT = "dashboard"
TRACES = "https://jaeger.example.com/trace/{trace_id}"
GRAFANA = "https://grafana.example.com/"
SIZE = {"width": 1280, "height": 800}


@pytest.fixture(scope="package")
def built() -> None:
    """The page as it is in the sources."""
    if dashboard.up_to_date():
        return
    try:
        dashboard.build()
    except dashboard.DashboardError as error:
        stack.skip_or_fail(f"the dashboard can't be built here: {error}")


@pytest.fixture(scope="package")
def stack_env(servers: dict[str, str], migrated_template: str) -> Iterator[dict[str, str]]:
    assert migrated_template
    with stack.package_env(servers, "dashboard", vhost=stack.VHOSTS[-1], redis=254) as env:
        yield env


@pytest.fixture(scope="package")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models that need no download: a small picture, one that waits, one that fails."""
    root = tmp_path_factory.mktemp("catalog")
    no_caches = shutil.ignore_patterns("__pycache__")
    examples = stack.ROOT / "examples" / "models"
    for model in (
        examples / "thumbnail",
        HERE.parent / "e2e" / "models" / "gated",
        HERE / "models" / "picky",
    ):
        shutil.copytree(model, root / model.name, ignore=no_caches)
    _crowded(root / "gated", root / "crowded")
    write_index(root)
    return root


def _crowded(gated: Path, folder: Path) -> None:
    """The same in a queue of its own, for a worker with more slots than engines."""
    shutil.copytree(gated, folder)
    toml = (gated / "model.toml").read_text()
    toml = toml.replace('name = "gated"', 'name = "crowded"').replace('"steady"', '"crowded"')
    (folder / "model.toml").write_text(toml)


@pytest.fixture(scope="package")
def house(stack_env: dict[str, str], catalog: Path, tmp_path_factory: pytest.TempPathFactory) -> House:
    return House(stack_env, catalog, tmp_path_factory.mktemp("house"))


@pytest.fixture(scope="package")
def gateway(house: House, built: None) -> Iterator[GatewayProcess]:
    settings = {"LEVERET_GATEWAY_TRACE_URL": TRACES, "LEVERET_GATEWAY_GRAFANA_URL": GRAFANA}
    with gateway_process(
        house.env, house.folder, LEVERET_CATALOG_PATH=str(house.catalog), **settings
    ) as started:
        house.logs["gateway"] = started.log
        yield started


@pytest.fixture(scope="package")
def steady(house: House, gateway: GatewayProcess) -> Iterator[WorkerProcess]:
    """The worker of `gated` and `picky`."""
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
    """An operator's."""
    return await behind.keys.create(TENANT, "tester", "operator")


@pytest.fixture
async def http(gateway: GatewayProcess, key: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with api(gateway.url, key) as opened:
        yield opened


@pytest.fixture(scope="package")
async def browser() -> AsyncIterator[Browser]:
    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if program is None:
        stack.skip_or_fail("no Chromium here: apt-get install chromium")
    async with async_playwright() as playwright:
        opened = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        await opened.close()


@pytest.fixture
async def page(browser: Browser) -> AsyncIterator[Page]:
    context = await browser.new_context(viewport=SIZE, reduced_motion="reduce")  # type: ignore[arg-type]
    opened = await context.new_page()
    opened.set_default_timeout(20_000)
    yield opened
    await context.close()


@pytest.fixture
async def stranger(page: Page, gateway: GatewayProcess, key: str) -> AsyncIterator[Visitor]:
    """Somebody before the login. At the end: no script failed, and nothing was asked of anybody else."""
    visitor = Visitor(page, gateway.url, key)
    visitor.watch()
    yield visitor
    assert visitor.complaints == []


@pytest.fixture
async def visitor(stranger: Visitor) -> Visitor:
    """Somebody who is logged in."""
    await stranger.log_in()
    return stranger


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    held = Gate(tmp_path / "gate")
    yield held
    held.open()
