"""PostgreSQL gone for a moment, for two minutes, its sessions ended, its answers to a commit lost."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from uuid import UUID

import asyncpg
import httpx2
import pytest

from tests.chaos.proxy import Weather
from tests.e2e.counting import Tally
from tests.e2e.processes import Gate, WorkerProcess, until
from tests.faults.conftest import Stage

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

ANSWER_S = 5
"""Published: within this a submit is refused while nobody listens where PostgreSQL was."""
SILENT_S = 15
"""Published: within this where it does not answer. A statement gives up after 11 s, and with it whoever came
while it was on its way."""
LATER_S = (0.0, 1.0, 5.0)
"""When submits come, the later ones while the first one waits."""
BACK_S = 10
"""Published: a result that was ready meanwhile is committed this soon after PostgreSQL is back. A worker
tries again after 5.2 s at most, and its connection has to be made."""
HEARD_S = 20
"""Published: the same where PostgreSQL was silent. The statement on its way gives up after 11 s first."""
SENT_S = 15
"""Published: a job whose submit lost the COMMIT's answer starts, sent by the relay: 10 s after the insert, at
the next tick."""
AWAY_S = 120
JOBS = 10
LINES_PER_S = 4
"""Published: of one process's log while PostgreSQL is away. A hot loop would write thousands."""
BUSY = 0.1
"""Published: of one core, of one process, meanwhile."""
TRIES_PER_S = 10
"""Published: connections that the gateway and a worker with ten jobs try to make meanwhile, each loop on rows
once a second."""
HERTZ = os.sysconf("SC_CLK_TCK")


async def refused(http: httpx2.AsyncClient, stage: Stage, when: str, *, within_s: float = ANSWER_S) -> None:
    """Submit while PostgreSQL is away."""
    began = time.monotonic()
    answer = await http.post("/v1/jobs", json={"model": "gated", "inputs": {"note": {"json": when}}})
    took = time.monotonic() - began
    assert answer.status_code == 503, answer.text
    assert "Retry-After" in answer.headers
    stage.measured.append(f"PostgreSQL {when}: submit refused with 503 after {took:.1f} s (<= {within_s})")
    assert took <= within_s


@asynccontextmanager
async def away(stage: Stage, number: signal.Signals) -> AsyncIterator[None]:
    """PostgreSQL is ended by this signal, and is back after the block."""
    await stage.ground.kill("postgresql", number)
    try:
        yield
    finally:
        await stage.ground.restart("postgresql")
        await stage.eyes_open()


async def unspent(stage: Stage, ids: list[str], gate: Gate) -> Tally:
    """Each of the jobs was started once, ended once, and paid with one attempt."""
    for job_id in ids:
        assert await stage.books.attempts(job_id) == [(1, "succeeded")]
    assert len(gate.runs()) == len(ids)
    return await stage.counted(ids, runs=len(ids))


async def test_immediate_restart(
    stage: Stage, http: httpx2.AsyncClient, gate: Gate, steady: WorkerProcess
) -> None:
    job = await stage.client.submit("gated", note="running", params=gate.params)
    await gate.until_runs(1)
    # When PostgreSQL is shut down as by a power cut, under a running job
    async with away(stage, signal.SIGQUIT):
        await refused(http, stage, "shut down")
        gate.open()
        await steady.until_logged("store.away")
    began = time.monotonic()
    # Then the result that was ready meanwhile is committed
    await job.wait()
    took = time.monotonic() - began
    tally = await unspent(stage, [job.id], gate)
    assert steady.process.poll() is None
    stage.measured.append(
        f"PostgreSQL immediate restart: result committed {took:.1f} s after its start (<= {BACK_S}), {tally}"
    )
    assert took <= BACK_S


async def test_sessions_ended(stage: Stage, gate: Gate, steady: WorkerProcess) -> None:
    job = await stage.client.submit("gated", note="running", params=gate.params)
    await gate.until_runs(1)
    # When somebody ends every session while it runs
    first = await _end_sessions(stage)
    later = await stage.client.submit("doomed", note="later", delay_s=600)
    await later.cancel()
    # And again when it has ended, in the midst of its result's commit
    async with _row_held(stage, job.id):
        gate.open()
        await _until_commits(stage)
        second = await _end_sessions(stage)
    began = time.monotonic()
    await job.wait()
    took = time.monotonic() - began
    await unspent(stage, [job.id], gate)
    tally = await stage.counted([job.id, later.id], runs=1)
    stage.measured.append(
        f"PostgreSQL's sessions ended ({first} and {second}): result committed after {took:.1f} s"
        f" (<= {BACK_S}), {tally}"
    )
    assert first >= 3
    assert second >= 1
    assert steady.logged("store.away")
    assert steady.process.poll() is None
    assert took <= BACK_S


@asynccontextmanager
async def _row_held(stage: Stage, job_id: str) -> AsyncIterator[None]:
    """Nobody else changes this job's row within the block."""
    connection = await asyncpg.connect(stage.ground.direct["LEVERET_POSTGRES_DSN"], timeout=10)
    try:
        async with connection.transaction():
            await connection.execute("select 1 from jobs where id = $1 for update", UUID(job_id), timeout=20)
            yield
    finally:
        await connection.close(timeout=10)


async def _until_commits(stage: Stage) -> None:
    """Wait until a worker's statement that ends a job waits for the row."""
    async with asyncio.timeout(30):
        while not await stage.behind.database.read(
            "select 1 from pg_stat_activity where wait_event_type = 'Lock'"
            " and application_name = 'leveret-worker' and query like '%told as materialized%'"
        ):
            await asyncio.sleep(0.02)


async def _end_sessions(stage: Stage) -> int:
    rows = await stage.behind.database.write(
        "select count(pg_terminate_backend(pid)) as ended from pg_stat_activity"
        " where application_name like 'leveret-%' and application_name <> 'leveret-test'"
    )
    return int(rows[0]["ended"])


async def test_answer_to_a_submit_lost(stage: Stage, http: httpx2.AsyncClient, steady: WorkerProcess) -> None:
    # When the row is committed and nobody hears of it
    trap = await stage.ground.lose_answer("postgresql", b"lost-submit")
    body = {"model": "gated", "inputs": {"note": {"json": 1}}, "metadata": {"mark": "lost-submit"}}
    headers = {"Idempotency-Key": "lost-submit-1"}
    answer = await http.post("/v1/jobs", json=body, headers=headers)
    # Then the caller is told that it is unknown, and what to do
    assert trap.sprung == 1
    assert answer.status_code == 503
    assert "Idempotency-Key" in answer.text
    again = await http.post("/v1/jobs", json=body, headers=headers)
    assert again.status_code in {200, 202}
    # And there is one job, which runs though nobody published it
    rows = await stage.behind.database.read(
        "select id from specs where idempotency_key = $1", "lost-submit-1"
    )
    assert [str(row["id"]) for row in rows] == [again.json()["id"]]
    job = await stage.client.job(again.json()["id"])
    await job.wait(timeout_s=60)
    times = (await job.refresh()).raw
    took = (
        datetime.fromisoformat(times["started_at"]) - datetime.fromisoformat(times["created_at"])
    ).total_seconds()
    tally = await stage.counted([job.id], runs=1)
    stage.measured.append(
        f"COMMIT's answer to a submit lost: started {took:.1f} s after its insert (<= {SENT_S}), {tally}"
    )
    assert took <= SENT_S


async def test_answers_to_a_worker_lost(stage: Stage, gate: Gate, steady: WorkerProcess) -> None:
    # Given a job that is claimed without the worker hearing of it
    job = await stage.client.submit("gated", note="early", params=gate.params, delay_s=1.5)
    before = _told_away(steady)
    claim = await stage.ground.lose_answer("postgresql", UUID(job.id).bytes, times=2)
    await gate.until_runs(1)
    assert claim.sprung
    assert _told_away(steady) > before
    await stage.ground.calm()
    # When its end is committed without the worker hearing of it
    finish = await stage.ground.lose_answer("postgresql", f"/{job.id}/1/".encode())
    gate.open()
    await job.wait()
    await steady.until_logged("job.left", job_id=job.id)
    # Then both are found in the row
    assert finish.sprung == 1
    assert steady.logged("job.left", job_id=job.id, state="succeeded")
    tally = await unspent(stage, [job.id], gate)
    stage.measured.append(
        f"answers to a worker lost, {claim.sprung} to its claim, {finish.sprung} to its commit:"
        f" found in the row, {tally}"
    )


def _told_away(worker: WorkerProcess) -> int:
    """How often it was left without an answer to a claim, a commit or the like."""
    return worker.log.read_text().count('"store.away"')


@pytest.mark.slow
async def test_silent(stage: Stage, http: httpx2.AsyncClient, gate: Gate, steady: WorkerProcess) -> None:
    job = await stage.client.submit("gated", note="running", params=gate.params)
    await gate.until_runs(1)
    # When PostgreSQL is there, but nothing it says arrives
    await stage.ground.change("postgresql", Weather(black_hole=True))
    try:
        gate.open()
        async with asyncio.TaskGroup() as submits:
            for later_s in LATER_S:
                submits.create_task(_refused_later(http, stage, later_s))
    finally:
        await stage.ground.calm()
    # Then a running job outlives that as well, and the submit that was unknown has an end
    began = time.monotonic()
    await job.wait()
    took = time.monotonic() - began
    async with asyncio.timeout(60):
        while (await stage.books.tally()).lost:
            await asyncio.sleep(0.1)
    tally = await unspent(stage, [job.id], gate)
    stage.measured.append(
        f"PostgreSQL silent: result committed {took:.1f} s after it was heard again (<= {HEARD_S}), {tally}"
    )
    assert took <= HEARD_S


async def _refused_later(http: httpx2.AsyncClient, stage: Stage, later_s: float) -> None:
    await asyncio.sleep(later_s)
    await refused(http, stage, f"silent for {later_s:g} s", within_s=SILENT_S)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_away_for_two_minutes(stage: Stage, http: httpx2.AsyncClient, gate: Gate) -> None:
    logs = {"gateway": stage.gateway.log}
    pids = {"gateway": stage.gateway.process.pid}
    with stage.house.worker("faults", ready=False, slots=str(JOBS)) as worker:
        await worker.until_logged("worker.ready")
        logs["worker"], pids["worker"] = worker.log, worker.pid
        # Given ten long jobs in a worker's hands
        jobs = [await stage.client.submit("doomed", note=n, params=gate.params) for n in range(JOBS)]
        await until(lambda: all(worker.logged("job.claimed", job_id=each.id) for each in jobs), why="all run")
        # When PostgreSQL is away six times as long as a lease
        async with away(stage, signal.SIGKILL):
            lines, spent = _lines(logs), {name: _cpu_s(pid) for name, pid in pids.items()}
            tried = stage.ground.tried("postgresql")
            began = time.monotonic()
            for part in range(3):
                await refused(http, stage, f"away {part * AWAY_S // 3} s")
                await asyncio.sleep(began + (part + 1) * AWAY_S / 3 - time.monotonic())
            more = _lines(logs) - lines
            busy = {name: (_cpu_s(pid) - spent[name]) / AWAY_S for name, pid in pids.items()}
            tries = (stage.ground.tried("postgresql") - tried) / AWAY_S
        await stage.relay_may_judge()  # the moment at which a relay in a hurry would run them all again
        # Then all go on as if nothing had been
        gate.open()
        await asyncio.gather(*(job.wait() for job in jobs))
    tally = await unspent(stage, [job.id for job in jobs], gate)
    worst_lines, worst_busy = max(more.values()) / AWAY_S, max(busy.values())
    stage.measured.append(
        f"PostgreSQL away {AWAY_S} s, {JOBS} jobs: 0 restarted, 0 attempts spent; a process's log"
        f" {worst_lines:.1f} lines/s (<= {LINES_PER_S}), {worst_busy:.1%} of a core (<= {BUSY:.0%}),"
        f" {tries:.1f} connections tried/s by both (<= {TRIES_PER_S}), {tally}"
    )
    assert worst_lines <= LINES_PER_S
    assert worst_busy <= BUSY
    assert 0 < tries <= TRIES_PER_S


def _lines(logs: dict[str, Path]) -> Counter[str]:
    return Counter({name: log.read_bytes().count(b"\n") for name, log in logs.items()})


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / HERTZ
