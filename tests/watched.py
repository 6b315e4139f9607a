"""A stack that a real Prometheus scrapes: gateway, scaler, the worker that it starts, and jobs."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from deploy.local.ports import free_ports
from gateway.client import AsyncClient
from tests.e2e.processes import House
from tests.gateway_process import GatewayProcess, backstage, gateway_process
from tests.prometheus import Prometheus, prometheus
from tests.stack import ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

TENANT = "watched"
BROKEN = """
name = "broken"
queue = "quick"
backend = "python"
handler = "broken:run"
[inputs.text]
kind = "text"
[outputs.text]
kind = "text"
"""


@dataclass(frozen=True, slots=True)
class Watched:
    """What runs, and where."""

    prometheus: Prometheus
    gateway: GatewayProcess
    key: str
    catalog: Path
    logs: Path


@asynccontextmanager
async def watched(env: Mapping[str, str], folder: Path) -> AsyncIterator[Watched]:
    """Running, and busy until the end of the block; its key is an operator's."""
    catalog = _catalog(folder / "catalog")
    logs = folder / "logs"
    logs.mkdir()
    (scaler_port,) = free_ports(1)
    scaler = {
        "LEVERET_SCALER_INTERVAL_S": "0.5",
        "LEVERET_SCALER_ADMIN_PORT": str(scaler_port),
        "LEVERET_SCALER_LOG_DIR": str(logs),
        "LEVERET_SCALER_PRICE_PER_HOUR": "3600",  # a second costs 1: attempts of milliseconds are seen
        "LEVERET_SCALER_STATE_DIR": str(folder / "state"),
        "LEVERET_SCALER_STOP_S": "10",
        "LEVERET_WORKER_SCRATCH": str(folder / "scratch"),
        "LEVERET_WORKER_DRAIN_S": "5",
    }
    with (
        gateway_process(env, logs, LEVERET_CATALOG_PATH=str(catalog)) as gateway,
        House(env, catalog, logs).scaler(**scaler),
    ):
        targets: dict[str, int | str] = {
            "leveret-gateway": int(gateway.admin_url.rpartition(":")[2]),
            "leveret-worker": f"{gateway.admin_url}/targets",  # on whatever port was free
            "leveret-scaler": scaler_port,
        }
        async with backstage(env) as behind, prometheus(folder, targets) as started:
            key = await behind.keys.create(TENANT, "test", "operator")
            async with AsyncClient(gateway.url, key) as client, _busy(client, folder / "picture.png"):
                yield Watched(started, gateway, key, catalog, logs)


def _catalog(root: Path) -> Path:
    """A model that works and one that does not, on one queue."""
    shutil.copytree(ROOT / "examples" / "models" / "thumbnail", root / "thumbnail")
    (root / "broken").mkdir()
    (root / "broken" / "model.toml").write_text(BROKEN)
    (root / "broken" / "broken.py").write_text("def run(text):\n    raise ValueError(text)\n")
    return root


@asynccontextmanager
async def _busy(client: AsyncClient, picture: Path) -> AsyncIterator[None]:
    Image.new("RGB", (64, 48), "white").save(picture)
    working = asyncio.create_task(_work(client, picture))
    try:
        yield
    finally:
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working


async def _work(client: AsyncClient, picture: Path) -> None:
    """One job of each class after the other, each followed over its socket, and one that fails."""
    while True:
        for priority in (9, 5, 1):
            job = await client.submit("thumbnail", image=picture, size=16, priority=priority)
            await job.wait()
        failing = await client.submit("broken", text="no")
        await failing.wait(check=False)
