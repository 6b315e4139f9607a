"""The peer's side: FastAPI by uvicorn in one process, `celery worker` in another."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import datetime
from typing import TYPE_CHECKING, Any

import redis.asyncio

from benchmarks import running
from benchmarks.load import connected, request
from benchmarks.sides import Finished
from deploy.local.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from benchmarks.running import Running

VHOST = "peer"
RESULTS_DB = 1
WAIT_S = 30
READY_LINE = " ready."


class CeleryPeer:
    """FastAPI with `apply_async`, and one prefork worker.

    Args:
        folder: The private servers' folder.
        settings: Their `LEVERET_` variables; the broker must have the virtual host `VHOST`.
        confirms: Whether it waits for the broker's confirms, which Celery does not by default.
    """

    name = "Celery"

    def __init__(self, folder: Path, settings: Mapping[str, str], *, confirms: bool) -> None:
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        self._port = port
        self._folder = folder
        self._results = settings["LEVERET_REDIS_URL"].removesuffix("/0") + f"/{RESULTS_DB}"
        self._variables = {
            "BENCH_PEER_BROKER": settings["LEVERET_RABBITMQ_URL"] + VHOST,
            "BENCH_PEER_RESULTS": self._results,
            "BENCH_PEER_CONFIRMS": str(int(confirms)),
        }
        body = json.dumps({"value": 1}).encode()
        self.submit = request("POST", "/jobs", body=body, wanted=202)
        self.submit_and_wait = request("POST", "/jobs/wait", body=body, wanted=200)
        self._web: Running | None = None
        self._worker: Running | None = None
        self._task: Any = None

    async def start(self) -> None:
        """Start the web process."""
        options = ("--port", str(self._port), "--no-access-log", "--log-level", "warning")
        command = ("uvicorn", "benchmarks.peer.web:app", *options)
        self._web = running.start(self._folder, "peer-web", *command, variables=self._variables)
        await self._web.until(self._serves, "the peer's web process")

    async def _serves(self) -> bool:
        try:
            async with connected(self.url):
                return True
        except OSError:
            return False

    async def start_worker(self, slots: int) -> None:
        """Start a worker whose child is forked and which consumes when this returns."""
        assert slots == 1, "the classic GPU worker holds one task"
        command = (
            "celery",
            "-A",
            "benchmarks.peer.tasks",
            "worker",
            "-P",
            "prefork",
            "-c",
            "1",
            "-l",
            "INFO",
        )
        self._worker = worker = running.start(
            self._folder, "peer-worker", *command, "-Q", "noop", variables=self._variables
        )
        before = worker.log.read_text().count(READY_LINE)

        async def ready() -> bool:
            return worker.log.read_text().count(READY_LINE) > before

        await worker.until(ready, "the peer's worker")

    async def stop_worker(self) -> None:
        """Its warm shutdown."""
        if self._worker is not None:
            await self._worker.stop()
        self._worker = None

    def job_id(self, body: bytes) -> str:
        """The task's id."""
        return str(json.loads(body)["id"])

    async def finished(self, job_ids: Sequence[str]) -> Finished:
        """Read the results: a task has ended when its result is in Redis."""
        async with redis.asyncio.from_url(self._results, socket_timeout=10) as client:
            stored = await client.mget([f"celery-task-meta-{each}" for each in job_ids])
        results = [json.loads(each) for each in stored if each]
        ends = [datetime.fromisoformat(each["date_done"]) for each in results if each["status"] == "SUCCESS"]
        return Finished(len(ends), min(ends, default=None), max(ends, default=None))

    async def await_result(self, job_id: str) -> None:
        """`AsyncResult.get()` as a Celery client calls it: subscribes in Redis, then waits.

        It blocks, and so does this: nothing else runs in the meantime, and a thread would only add a hop.
        """
        await asyncio.sleep(0)
        self._client().AsyncResult(job_id).get(timeout=WAIT_S)

    def _client(self) -> Any:
        if self._task is None:
            os.environ.update(self._variables)
            from benchmarks.peer.tasks import noop  # noqa: PLC0415  reads its addresses when imported

            self._task = noop
        return self._task

    async def fetch_value(self, body: bytes) -> None:
        """Nothing to do: the value is in the answer."""
        assert json.loads(body)["result"] == 1

    def pids(self) -> dict[str, int]:
        """FastAPI, the worker's parent, and its one child."""
        found = {}
        if self._web is not None:
            found["gateway"] = self._web.pid
        if self._worker is not None:
            found["worker"] = self._worker.pid
            found |= running.child_of(self._worker.pid)
        return found
