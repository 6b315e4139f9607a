"""Workers and engines killed under a job, stopped, cut off. Bounds are the published ones."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import pytest

from gateway.client import AsyncClient, JobFailed
from gateway.relay import LEASE_GRACE_S
from tests.e2e.counting import Books
from tests.e2e.processes import Gate, House, WorkerProcess, until
from tests.gateway_process import Backstage, GatewayProcess

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

RESTART_S = 10
"""Published: a killed worker's job starts again within this, given a free slot."""


@pytest.fixture(autouse=True, scope="module")
async def relay_may_judge(gateway: GatewayProcess, behind: Backstage) -> None:
    """No lease is judged just after a start of PostgreSQL or of the gateway; the bound holds from then on."""
    rows = await behind.database.read("select pg_postmaster_start_time() as at")
    first = json.loads(gateway.log.read_text().splitlines()[0])
    started = max(datetime.fromisoformat(first["timestamp"]), rows[0]["at"])
    rest = LEASE_GRACE_S + 2 - (datetime.now(UTC) - started).total_seconds()
    await asyncio.sleep(max(0.0, rest))


def gone(pid: int) -> bool:
    """Ended; one that nobody has waited for yet counts as ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


async def test_a_killed_workers_job_is_finished_once_by_another(
    client: AsyncClient, house: House, gate: Gate, books: Books, measured: list[str]
) -> None:
    took = []
    with house.workers("faults", 3) as living:
        job = await client.submit("doomed", note=1, params=gate.params)
        for attempt in (1, 2):
            engine = await gate.until_runs(attempt)
            holder = await _holder(living, job.id, attempt)
            # When the worker dies without a word
            holder.kill()
            killed = time.monotonic()
            # Then another one runs the job, and the dead one's engine is gone
            await gate.until_runs(attempt + 1)
            took.append(time.monotonic() - killed)
            await until(partial(gone, engine), why="the engine dies with its worker")
            living.remove(holder)
        gate.open()
        told = [event.type async for event in job.events(after=0) if event.type != "job.progress"]
    again = ["job.running", "job.retrying"]
    assert told == ["job.queued", *again, *again, "job.running", "job.succeeded"]
    assert await books.attempts(job.id) == [(1, "worker_lost"), (2, "worker_lost"), (3, "succeeded")]
    assert len(gate.runs()) == 3
    measured.append(f"restart after kill -9 of its worker: worst of {len(took)} {max(took):.1f} s")
    assert max(took) <= RESTART_S


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="there is a GPU here")
async def test_a_worker_whose_gpu_is_missing_leaves_and_spends_nobodys_attempt(
    client: AsyncClient, house: House, gate: Gate, books: Books
) -> None:
    gate.open()
    # Given a worker that meets its GPU with the first job only, as one whose GPU has fallen off the bus
    with house.worker("faults", device="cuda", preload="false") as blind:
        job = await client.submit("doomed", note=1, params=gate.params)
        # Then it does not draw job after job to itself, but ends, and not as one that was well
        assert await asyncio.to_thread(blind.process.wait, 30) == 1
        assert blind.logged("process.failed", code="device_error")
    assert (await job.refresh()).state == "queued"
    # And another one runs the job as if nothing had been
    with house.worker("faults"):
        await job.wait(timeout_s=30)
    assert await books.attempts(job.id) == [(1, "released"), (1, "succeeded")]


async def _holder(workers: list[WorkerProcess], job_id: str, attempt: int) -> WorkerProcess:
    """The one that runs the job."""

    def claimed() -> WorkerProcess | None:
        found = (worker for worker in workers if worker.logged("job.claimed", job_id=job_id, attempt=attempt))
        return next(found, None)

    holder: WorkerProcess = await until(claimed, why=f"attempt {attempt} is claimed")
    return holder


async def test_a_killed_engine_costs_the_attempt_and_not_the_worker(
    client: AsyncClient, gate: Gate, steady: WorkerProcess, books: Books
) -> None:
    job = await client.submit("gated", note=1, params=gate.params)
    os.kill(await gate.until_runs(1), signal.SIGKILL)

    await gate.until_runs(2)
    gate.open()
    told = [event.type async for event in job.events(after=0) if event.type != "job.progress"]

    again = ["job.running", "job.retrying", "job.queued"]
    assert told == ["job.queued", *again, "job.running", "job.succeeded"]
    assert await books.attempts(job.id) == [(1, "waiting"), (2, "succeeded")]
    assert steady.process.poll() is None


async def test_a_job_that_kills_every_engine_fails_with_its_evidence(
    client: AsyncClient, gate: Gate, steady: WorkerProcess, books: Books
) -> None:
    job = await client.submit("gated", note=1, params=gate.params, max_attempts=2)
    engines = []
    for run in (1, 2):
        engines.append(await gate.until_runs(run))
        os.kill(engines[-1], signal.SIGKILL)

    with pytest.raises(JobFailed) as failed:
        await job.wait()

    assert failed.value.code == "worker_lost"
    attempts = (await client.logs(job.id))["attempts"]
    assert [attempt["log"] for attempt in attempts] == [f"running in {pid}\n" for pid in engines]
    assert all("SIGKILL" in attempt["error"]["message"] for attempt in attempts)
    assert [attempt for attempt, _ in await books.attempts(job.id)] == [1, 2]
    await (await client.submit("gated", note=2)).wait()
    assert steady.process.poll() is None


async def test_a_stopped_worker_that_comes_back_changes_nothing(
    client: AsyncClient, house: House, gate: Gate, behind: Backstage, books: Books
) -> None:
    with house.workers("faults", 2) as both:
        job = await client.submit("doomed", note=1, params=gate.params)
        await gate.until_runs(1)
        stopped = await _holder(both, job.id, 1)
        # When a worker falls silent for longer than its lease
        stopped.process.send_signal(signal.SIGSTOP)
        await behind.database.write("update jobs set lease_until = now() where id = $1", UUID(job.id))
        await gate.until_runs(2)
        gate.open()
        await job.wait()
        result = job.raw["outputs"]["note"]["uri"]
        # And comes back with a result of its own
        stopped.process.send_signal(signal.SIGCONT)
        await stopped.until_logged("job.left", job_id=job.id, state="discarded")
        # Then the job stays as it was, and the worker is as good as any
        (other,) = (worker for worker in both if worker is not stopped)
        other.drain()
        assert await other.exit_code() == 0
        await (await client.submit("doomed", note=2)).wait()
        assert stopped.process.poll() is None
    assert (await job.refresh()).raw["outputs"]["note"]["uri"] == result
    assert await books.attempts(job.id) == [(1, "worker_lost"), (2, "succeeded")]


async def test_a_job_beyond_its_time_limit_is_killed_and_not_tried_again(
    client: AsyncClient, gate: Gate, steady: WorkerProcess, books: Books
) -> None:
    job = await client.submit("gated", note=1, params=gate.params, timeout_s=0.5)

    with pytest.raises(JobFailed) as failed:
        await job.wait()

    assert failed.value.code == "timeout"
    assert gone(gate.runs()[0])
    assert await books.attempts(job.id) == [(1, "failed")]
    await (await client.submit("gated", note=2)).wait()
    assert steady.process.poll() is None


class Line:
    """A TCP relay to a server, whose connections can be cut at once."""

    def __init__(self, url: str) -> None:
        self._server = urlsplit(url)
        self._writers: list[asyncio.StreamWriter] = []
        self._pumps: set[asyncio.Task[None]] = set()
        self.url = ""

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(self._server.hostname, self._server.port)
        self._writers += [writer, far_writer]
        for source, target in ((reader, far_writer), (far_reader, writer)):
            self._pumps.add(asyncio.create_task(_pump(source, target)))

    def cut(self) -> int:
        """Reset every connection; answers how many there were."""
        for writer in self._writers:
            writer.transport.abort()
        number = len(self._writers) // 2
        self._writers.clear()
        return number

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Line]:
        front = await asyncio.start_server(self.accept, "127.0.0.1", 0)
        account, _, _ = self._server.netloc.rpartition("@")
        here = f"{account}@127.0.0.1:{front.sockets[0].getsockname()[1]}"
        self.url = urlunsplit(self._server._replace(netloc=here))
        try:
            yield self
        finally:
            front.close()
            self.cut()
            await asyncio.gather(*self._pumps, return_exceptions=True)


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while piece := await source.read(65536):
        target.write(piece)


@pytest.fixture
async def lines(stack_env: dict[str, str]) -> AsyncIterator[dict[str, Line]]:
    """Lines to the servers that are spoken to all the time, by the variable that names each."""
    names = ("LEVERET_RABBITMQ_URL", "LEVERET_POSTGRES_DSN", "LEVERET_REDIS_URL")
    async with AsyncExitStack() as stack:
        yield {name: await stack.enter_async_context(Line(stack_env[name]).open()) for name in names}


async def test_lost_connections_do_not_run_the_job_again(
    client: AsyncClient, gate: Gate, house: House, books: Books, lines: dict[str, Line]
) -> None:
    env = {name: line.url for name, line in lines.items()}
    with house.worker("faults", ready=False, env=env) as worker:
        await worker.until_logged("worker.ready")
        job = await client.submit("doomed", note=1, params=gate.params)
        await gate.until_runs(1)
        with house.worker("faults") as other:
            # When all connections break under the job, its message comes to another worker
            broken = [line.cut() for line in lines.values()]
            assert all(broken)
            await worker.until_logged("consumer.disconnected")
            await (await client.submit("doomed", note=2)).wait()
            # And the lease is renewed past the deadline that this set
            await books.until_renewed_past_doubt(job.id)
            # And they break again when the result is there
            lines["LEVERET_POSTGRES_DSN"].cut()
            gate.open()
            await job.wait()
            assert other.logged("job.claimed", job_id=job.id) is None
        # And the worker goes on with its next connections
        await (await client.submit("doomed", note=3)).wait()
    # Then it was run once
    assert len(gate.runs()) == 1
    assert await books.attempts(job.id) == [(1, "succeeded")]
