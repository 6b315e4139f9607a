"""A real Prometheus, as Debian packages it, that scrapes what a test started, every second."""

from __future__ import annotations

import asyncio
import json
import shutil
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2

from deploy.local.ports import free_ports
from tests.stack import ROOT, skip_or_fail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

RULES = ROOT / "deploy" / "prometheus" / "leveret.rules.yml"
READY_S = 30


@dataclass(frozen=True, slots=True)
class Prometheus:
    """One that runs."""

    client: httpx2.AsyncClient

    async def ask(self, what: str, **parameters: str) -> Any:
        """The `data` of an answer of its API; raises AssertionError where it refuses."""
        answer = await self.client.get(f"/api/v1/{what}", params=parameters)
        document = answer.json()
        assert document["status"] == "success", (parameters, document)
        return document["data"]

    async def query(self, expr: str) -> list[dict[str, Any]]:
        """The samples of an instant query."""
        data = await self.ask("query", query=expr)
        assert data["resultType"] in {"vector", "scalar"}, expr
        return list(data["result"]) if data["resultType"] == "vector" else [{"value": data["result"]}]

    async def ready(self) -> bool:
        try:
            return (await self.client.get("/-/ready")).is_success
        except httpx2.TransportError:
            return False


def configuration(targets: Mapping[str, int | str]) -> dict[str, Any]:
    """With the project's own rules, and a job for each target: a port here, or who knows where it is."""
    return {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s", "external_labels": {"runbook": "x"}},
        "rule_files": [str(RULES)],
        "scrape_configs": [{"job_name": name, **_discovery(target)} for name, target in targets.items()],
    }


def _discovery(target: int | str) -> dict[str, Any]:
    if isinstance(target, str):
        return {"http_sd_configs": [{"url": target, "refresh_interval": "1s"}]}
    return {"static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}


@asynccontextmanager
async def prometheus(folder: Path, targets: Mapping[str, int | str]) -> AsyncIterator[Prometheus]:
    """Started on a free port, its data in `folder`; ended with the block."""
    program = shutil.which("prometheus")
    if program is None:
        skip_or_fail("prometheus is not installed: it is in Debian's package prometheus (make dev)")
    (port,) = free_ports(1)
    config = folder / "prometheus.yml"
    config.write_text(json.dumps(configuration(targets)))  # JSON is YAML
    command = [
        str(program),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    with (folder / "prometheus.log").open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            started = Prometheus(client)
            async with asyncio.timeout(READY_S):
                while not await started.ready():
                    assert process.returncode is None, (folder / "prometheus.log").read_text()
                    await asyncio.sleep(0.1)
            yield started
    finally:
        process.terminate()
        await process.wait()
