"""Leveret's side: `python -m gateway` and `python -m gpu_worker`, talked to over HTTP and WebSocket only.

Database rows are read to see when jobs ended; nothing of the product is imported or stubbed.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
from websockets.asyncio.client import connect

from benchmarks import running
from benchmarks.load import UnexpectedAnswerError, connected, request
from benchmarks.sides import Finished
from deploy.local.applications import run_module
from deploy.local.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from benchmarks.load import Request
    from benchmarks.running import Running

WAIT_S = 30
CATALOG = running.ROOT / "benchmarks" / "models"
READY = request("GET", "/readyz", wanted=200)
FINISHED = """
select count(*), min(finished_at) as first, max(finished_at) as last
from jobs where id = any($1::uuid[]) and state = 'succeeded'
"""


class Leveret:
    """The gateway and one worker.

    Args:
        folder: The private servers' folder.
        settings: Their `LEVERET_` variables.
        catalog: The models it serves.
        module: What is started as the gateway.
    """

    name = "Leveret"

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, str],
        *,
        catalog: Path = CATALOG,
        module: str = "gateway",
    ) -> None:
        port, admin, worker_admin = free_ports(3)
        self.url = f"http://127.0.0.1:{port}"
        self._admin, self._worker_admin = f"http://127.0.0.1:{admin}", f"http://127.0.0.1:{worker_admin}"
        self._folder = folder
        self._module = module
        self._variables = {
            **settings,
            "LEVERET_CATALOG_PATH": str(catalog),
            "LEVERET_GATEWAY_PORT": str(port),
            "LEVERET_GATEWAY_ADMIN_PORT": str(admin),
            "LEVERET_GATEWAY_PUBLIC_URL": self.url,
            "LEVERET_WORKER_ADMIN_PORT": str(worker_admin),
        }
        self._gateway: Running | None = None
        self._worker: Running | None = None

    async def start(self) -> None:
        """Migrate, make a key, start the gateway."""
        await self._once("shared.adapters.store.migrate")
        self._key = await self.key("user")
        self.submit = self.job("noop", {"value": {"json": 1}}, wait=False)
        self.submit_and_wait = self.job("noop", {"value": {"json": 1}}, wait=True)
        self._gateway = running.start(self._folder, self._module, self._module, variables=self._variables)
        await self._gateway.until(lambda: _ready(self._admin), "the gateway")

    async def key(self, role: str) -> str:
        """A new key of the tenant ``bench``."""
        return await self._once("gateway.keys", "create", "--tenant", "bench", "--name", role, "--role", role)

    async def _once(self, *command: str) -> str:
        log = self._folder / "logs" / "once.log"
        return await run_module(*command, variables=self._variables, log=log)

    def job(
        self,
        model: str,
        inputs: Mapping[str, Any],
        params: Mapping[str, Any] | None = None,
        *,
        wait: bool,
    ) -> Request:
        """The request that submits a job, answered at once or with its result."""
        said = {"model": model, "inputs": inputs, "params": params or {}, "priority": 5}
        headers = self.credentials | ({"Prefer": f"wait={WAIT_S}"} if wait else {})
        body = json.dumps(said).encode()
        return request("POST", "/v1/jobs", body=body, headers=headers, wanted=200 if wait else 202)

    @property
    def credentials(self) -> dict[str, str]:
        """The header that says who calls."""
        return {"Authorization": f"Bearer {self._key}"}

    async def start_worker(
        self, slots: int, queue: str = "noop", extra: Mapping[str, str] | None = None
    ) -> None:
        """Start a worker that has loaded its model and consumes when this returns.

        Args:
            slots: Its slots.
            queue: What it serves.
            extra: `LEVERET_` variables of its own.
        """
        asked = {"LEVERET_WORKER_SLOTS": str(slots), "LEVERET_WORKER_QUEUE": queue}
        variables = {**self._variables, **asked, **(extra or {})}
        self._worker = running.start(self._folder, "worker", "gpu_worker", variables=variables)
        await self._worker.until(lambda: _ready(self._worker_admin), "the worker")

    async def stop_worker(self) -> None:
        """Drain it."""
        if self._worker is not None:
            await self._worker.stop()
        self._worker = None

    async def stop(self) -> None:
        """End the gateway; its rows stay."""
        if self._gateway is not None:
            await self._gateway.stop()
        self._gateway = None

    def job_id(self, body: bytes) -> str:
        """The `id` of the job document."""
        return str(json.loads(body)["id"])

    async def finished(self, job_ids: Sequence[str]) -> Finished:
        """Read the rows: a job has ended when its result is committed."""
        connection = await asyncpg.connect(self._variables["LEVERET_POSTGRES_DSN"], timeout=10)
        try:
            row = await connection.fetchrow(FINISHED, [UUID(each) for each in job_ids], timeout=30)
        finally:
            await connection.close(timeout=5)
        assert row is not None
        return Finished(row["count"], row["first"], row["last"])

    async def await_result(self, job_id: str) -> None:
        """Open the job's stream and read until its terminal event, whatever came before.

        Raises:
            UnexpectedAnswerError: The job did not succeed.
        """
        address = f"{self.url.replace('http', 'ws', 1)}/v1/jobs/{job_id}/stream?after=0"
        async with (
            asyncio.timeout(WAIT_S),
            connect(address, additional_headers=self.credentials, proxy=None, compression=None) as socket,
        ):
            async for message in socket:
                if json.loads(message)["type"] == "job.succeeded":
                    return
        raise UnexpectedAnswerError(f"job {job_id} did not succeed: {message!r}")

    async def fetch_value(self, body: bytes) -> None:
        """Download the output from the object store, as the signed address in the answer says."""
        address = urlsplit(json.loads(body)["outputs"]["result"]["url"])
        target = f"{address.path}?{address.query}"
        async with connected(address.geturl()) as connection:
            answer = await connection.exchange(
                request("GET", target, headers={"Host": address.netloc}, wanted=200)
            )
        assert answer.body == b"1"

    def pids(self) -> dict[str, int]:
        """Gateway, worker, and the engine that the worker started."""
        found = {}
        if self._gateway is not None:
            found["gateway"] = self._gateway.pid
        if self._worker is not None:
            found["worker"] = self._worker.pid
            found |= running.child_of(self._worker.pid)
        return found


async def _ready(admin: str) -> bool:
    try:
        async with asyncio.timeout(5), connected(admin) as connection:
            await connection.exchange(READY)
    except (OSError, TimeoutError, UnexpectedAnswerError):
        return False
    return True
