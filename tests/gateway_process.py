"""A gateway process under test, and somebody who plays the worker beside it."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from uuid import UUID

import httpx2
import msgspec
from pydantic import SecretStr
from websockets.asyncio.client import ClientConnection, connect

from deploy.local.ports import free_ports
from shared.adapters.bus import Bus, open_bus
from shared.adapters.store.attempts import AttemptStore
from shared.adapters.store.claims import ClaimStore
from shared.adapters.store.keys import KeyStore
from shared.adapters.store.pool import Database, open_database
from shared.adapters.store.reads import ReadStore
from shared.events import Event, EventType
from shared.jobs import Claim, Ending, Evidence, State
from shared.messages import job_document
from shared.settings import Postgres, Redis
from tests.stack import ROOT, process_environment

MODELS = {
    "echo": """
        name = "echo"
        queue = "quick"
        backend = "python"
        handler = "echo:run"
        timeout_s = 30
        [inputs.image]
        kind = "image"
        max_bytes = 2097152
        [inputs.note]
        kind = "text"
        required = false
        [inputs.extra]
        kind = "json"
        required = false
        [outputs.image]
        kind = "image"
        [params.size]
        type = "integer"
        default = 256
        minimum = 1
        maximum = 1024
        """,
    "free": """
        name = "free"
        backend = "python"
        handler = "free:run"
        [inputs.extra]
        kind = "json"
        required = false
        [outputs.extra]
        kind = "json"
        """,
}


def write_catalog(root: Path) -> Path:
    for name, text in MODELS.items():
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.toml").write_text("\n".join(line.strip() for line in text.splitlines()))
    return root


@dataclass(frozen=True, slots=True)
class GatewayProcess:
    """A `python -m gateway` that is ready."""

    process: subprocess.Popen[bytes]
    url: str
    admin_url: str
    log: Path

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@contextmanager
def gateway_process(
    env: Mapping[str, str], folder: Path, *, until: str = "readyz", **settings: str
) -> Iterator[GatewayProcess]:
    port, admin_port = free_ports(2)
    url = f"http://127.0.0.1:{port}"
    variables = {
        "LEVERET_CATALOG_PATH": str(write_catalog(folder / "models")),
        "LEVERET_GATEWAY_PORT": str(port),
        "LEVERET_GATEWAY_ADMIN_PORT": str(admin_port),
        "LEVERET_GATEWAY_PUBLIC_URL": url,
        "LEVERET_GATEWAY_MAX_BODY_BYTES": str(4 * 1024 * 1024),
        "LEVERET_GATEWAY_ORIGINS": json.dumps(["https://dashboard.example"]),
    }
    log = folder / f"gateway-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway"],
            cwd=ROOT,
            env=process_environment({**env, **variables, **settings}),
            stderr=output,
        )
    started = GatewayProcess(process, url, f"http://127.0.0.1:{admin_port}", log)
    try:
        _await_answer(started, until)
        yield started
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_answer(gateway: GatewayProcess, path: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and gateway.process.poll() is None:
        try:
            with urllib.request.urlopen(f"{gateway.admin_url}/{path}", timeout=5):  # noqa: S310  our own
                return
        except (URLError, ConnectionError):
            time.sleep(0.05)
    raise AssertionError(f"the gateway did not get ready:\n{gateway.log.read_text()}")


@dataclass(frozen=True, slots=True)
class Backstage:
    """The stores and the bus, as a worker or an operator uses them."""

    database: Database
    bus: Bus
    reads: ReadStore
    claims: ClaimStore
    attempts: AttemptStore
    keys: KeyStore

    async def key(self, tenant: str, *prefixes: str) -> str:
        key = await self.keys.create(tenant, "test", "user")
        if prefixes:
            await self.keys.allow_prefixes(tenant, list(prefixes))
        return key

    async def claim(self, job_id: str, *, announce: bool = True) -> Claim:
        claim = await self.claims.claim(UUID(job_id))
        assert isinstance(claim, Claim)
        if announce:
            data = {"attempt": claim.attempt}
            await self.bus.announce(claim.tenant, _event(claim, claim.seq, EventType.RUNNING, data))
        return claim

    async def progress(self, claim: Claim, value: float) -> None:
        await self.bus.announce(
            claim.tenant, _event(claim, claim.seq, EventType.PROGRESS, {"progress": value})
        )

    async def finish(
        self, claim: Claim, outputs: Mapping[str, Any] | None = None, *, announce: bool = True
    ) -> Event:
        ending = Ending(state=State.SUCCEEDED, evidence=Evidence(log="printed"), outputs=outputs or {})
        left = await self.attempts.finish(claim, ending)
        assert left is not None
        if announce:
            job = await self.reads.job(claim.tenant, claim.id)
            assert job is not None
            await self.bus.announce(claim.tenant, left.event, msgspec.json.encode(job_document(job)))
        return left.event


def _event(claim: Claim, seq: int, kind: EventType, data: Mapping[str, Any]) -> Event:
    return Event(seq=seq, job_id=claim.id, type=kind, at=claim.started_at, data=data)


@asynccontextmanager
async def backstage(env: Mapping[str, str]) -> AsyncIterator[Backstage]:
    postgres = Postgres(dsn=SecretStr(env["LEVERET_POSTGRES_DSN"]), pool_size=4)
    redis = Redis(url=SecretStr(env["LEVERET_REDIS_URL"]))
    async with open_database(postgres, name="test") as database, open_bus(redis) as bus:
        claims = ClaimStore(database, worker="test-worker", models=["echo@1", "free@1"])
        attempts = AttemptStore(database, worker="test-worker")
        yield Backstage(database, bus, ReadStore(database), claims, attempts, KeyStore(database))


@asynccontextmanager
async def api(url: str, key: str | None) -> AsyncIterator[httpx2.AsyncClient]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=30) as client:
        yield client


async def submit(client: httpx2.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await client.post("/v1/jobs", json={"model": "free", **fields})
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    return job


def open_socket(url: str, key: str | None, job_id: str, after: int | str = 0, **more: Any) -> connect:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    target = f"{url.replace('http', 'ws', 1)}/v1/jobs/{job_id}/stream?after={after}"
    return connect(target, additional_headers={**headers, **more.pop("headers", {})}, **more)


async def until_metric(admin_url: str, line: str) -> None:
    """Wait until the gateway's metrics show this line."""
    async with api(admin_url, None) as admin:
        while line not in (await admin.get("/metrics")).text:
            await asyncio.sleep(0.05)


async def next_event(socket: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(15):
        event: dict[str, Any] = json.loads(await socket.recv())
        return event
