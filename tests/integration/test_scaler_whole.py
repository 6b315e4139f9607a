"""`python -m scaler` as a process on real servers, with a tiny stand-in for the worker.

The stand-in keeps its row as a worker does and takes a second over each job; the worker itself has its own
tests, and the two meet on the running stack.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import uuid
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests import stack

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

MODEL = """
name = "nap"
version = "1"
queue = "naps"
backend = "python"
handler = "nap:nap"
[inputs.text]
kind = "json"
[outputs.text]
kind = "json"
"""
WORKER = """
import asyncio, os, signal, sys
from pydantic import SecretStr
from shared.adapters.store.pool import open_database
from shared.adapters.store.workers import WorkerIdentity, WorkerStore
from shared.settings import Postgres

TAKE = '''update jobs set state = 'running', worker = $1, started_at = clock_timestamp() where id =
  (select id from jobs where state = 'queued' and queue = $2 limit 1 for update skip locked) returning id'''

async def main():
    queue, name = os.environ["LEVERET_WORKER_QUEUE"], os.environ["LEVERET_WORKER_ID"]
    assert not any(variable.startswith("LEVERET_SCALER_") for variable in os.environ)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    settings = Postgres(dsn=SecretStr(os.environ["LEVERET_POSTGRES_DSN"]))
    async with open_database(settings, name="stub", size=1) as database:
        me = WorkerIdentity(id=name, queue=queue, host="here", device="cpu", slots=1)
        store = WorkerStore(database, me)
        while not stop.is_set():
            rows = await database.write(TAKE, name, queue)
            if await store.beat("ready", busy=len(rows)):
                break
            await asyncio.sleep(1.0 if rows else 0.05)
            for row in rows:
                await database.write("update jobs set state = 'succeeded' where id = $1", row["id"])
        await store.beat("gone", busy=0)
    print("left", flush=True)

asyncio.run(main())
"""
BROKEN = "import sys; sys.exit('this worker is broken')"
JOB = """
insert into jobs (id, queue, state, priority, seq, max_attempts, queued_at)
values ($1, 'naps', 'queued', 5, 1, 3, clock_timestamp())
"""


class House:
    """A folder with a catalog and a worker, a database, and the scaler as a process."""

    def __init__(self, folder: Path, env: dict[str, str], database: asyncpg.Connection[Any]) -> None:
        self.folder = folder
        self.env = env
        self.database = database
        self.processes: list[Process] = []

    async def start(self, *words: str, **settings: str) -> Process:
        own = {f"LEVERET_SCALER_{name.upper()}": value for name, value in settings.items()}
        scaler = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "scaler",
            *words,
            cwd=self.folder,
            env=stack.process_environment(self.env | own) | {"PYTHONPATH": str(stack.ROOT)},
            stderr=asyncio.subprocess.PIPE,
        )
        self.processes.append(scaler)
        return scaler

    async def submit(self) -> None:
        await self.database.execute(JOB, uuid.uuid4())

    async def row(self, question: str) -> list[Any]:
        return [tuple(row) for row in await self.database.fetch(question)]

    async def until(self, question: str, *answer: Any) -> None:
        async with asyncio.timeout(30):
            while await self.row(question) != list(answer):
                await asyncio.sleep(0.05)

    def alive(self) -> list[int]:
        file = self.folder / "state" / "naps.json"
        workers = json.loads(file.read_text())["workers"].values() if file.exists() else []
        return [entry["pid"] for entry in workers if Path(f"/proc/{entry['pid']}").exists()]


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@asynccontextmanager
async def house(folder: Path, env: dict[str, str], worker: str) -> AsyncIterator[House]:
    write(folder / "models/nap/model.toml", MODEL)
    write(folder / "gpu_worker/__main__.py", worker)
    write(folder / "gpu_worker/__init__.py", "")  # or the real one would win
    settings = {
        "LEVERET_CATALOG_PATH": str(folder / "models"),
        "LEVERET_SCALER_STATE_DIR": str(folder / "state"),
        "LEVERET_SCALER_INTERVAL_S": "0.2",
        "LEVERET_SCALER_IDLE_S": "1",
    }
    database = await asyncpg.connect(env["LEVERET_POSTGRES_DSN"])
    try:
        await database.execute("truncate jobs, workers, decisions")
        given = House(folder, env | settings, database)
        yield given
    finally:
        await database.close()
        for process in given.processes:
            await stop(process)
        for pid in given.alive():
            os.kill(pid, signal.SIGKILL)


async def stop(process: Process, number: int = signal.SIGTERM) -> tuple[int | None, list[dict[str, Any]]]:
    """The exit code and what it logged."""
    if process.returncode is None:
        process.send_signal(number)
    async with asyncio.timeout(30):
        _, written = await process.communicate()
    return process.returncode, [json.loads(line) for line in written.splitlines() if line.startswith(b"{")]


DECIDED = """
select want, have, actions->>'launch', jsonb_array_length(actions->'drain') from decisions order by id
"""
ENDED = "select count(*) from jobs where state = 'succeeded'"


async def test_the_first_job_starts_one_worker_which_leaves_when_idle(
    stack_env: dict[str, str], tmp_path: Path
) -> None:
    async with house(tmp_path, stack_env, WORKER) as given:
        scaler = await given.start()
        await given.submit()
        await given.submit()

        await given.until(ENDED, (2,))
        await given.until("select state, drain from workers", ("gone", True))
        code, lines = await stop(scaler)

        assert await given.row(DECIDED) == [(1, 0, "1", 0), (0, 1, "0", 1)]
        # Whether a look falls into the start itself is chance
        assert {(1, 0), (1, 1)} <= set(await given.row("select want, serving from fleet_looks"))
        assert given.alive() == []
        [log] = (tmp_path / "state" / "logs").iterdir()
        assert log.read_text() == "left\n"
    assert code == 0
    events = [line["event"] for line in lines]
    assert events.count("scaler.decided") == 2
    assert not [line for line in lines if line["level"] == "error"]


async def test_workers_drain_when_the_scaler_is_asked_to_stop(
    stack_env: dict[str, str], tmp_path: Path
) -> None:
    async with house(tmp_path, stack_env, WORKER) as given:
        scaler = await given.start(idle_s="600")
        await given.submit()
        await given.until("select state from jobs", ("running",))

        code, _ = await stop(scaler)

        assert code == 0
        assert await given.row("select state from jobs") == [("succeeded",)]
        assert await given.row("select state from workers") == [("gone",)]
        assert given.alive() == []


async def test_a_killed_scaler_leaves_its_workers_to_the_next_one(
    stack_env: dict[str, str], tmp_path: Path
) -> None:
    async with house(tmp_path, stack_env, WORKER) as given:
        first = await given.start(idle_s="600")
        await given.submit()
        await given.until(ENDED, (1,))
        [pid] = given.alive()
        await stop(first, signal.SIGKILL)

        second = await given.start(idle_s="1")
        await given.until("select state, drain from workers", ("gone", True))
        await stop(second)

        assert pid not in given.alive()
        assert await given.row("select count(*) from workers") == [(1,)]


async def test_workers_stay_when_the_settings_say_so(stack_env: dict[str, str], tmp_path: Path) -> None:
    async with house(tmp_path, stack_env, WORKER) as given:
        scaler = await given.start(idle_s="600", keep_workers="true")
        await given.submit()
        await given.until(ENDED, (1,))

        code, _ = await stop(scaler)

        assert code == 0
        assert len(given.alive()) == 1


async def test_a_broken_worker_is_not_started_in_a_loop(stack_env: dict[str, str], tmp_path: Path) -> None:
    async with house(tmp_path, stack_env, BROKEN) as given:
        scaler = await given.start()
        await given.submit()
        await given.until("select count(*) from decisions where actions ? 'token'", (3,))
        _, lines = await stop(scaler)

    failed = [line for line in lines if line["event"] == "scaler.launch_failed"]
    assert [line["in_a_row"] for line in failed][:2] == [1, 2]
    assert failed[0]["why"].endswith("last words: this worker is broken")
    launches = [line for line in lines if line["event"] == "scaler.launched"]
    assert len(launches) <= 4


async def test_a_wrong_setting_stops_it_at_once(stack_env: dict[str, str], tmp_path: Path) -> None:
    async with house(tmp_path, stack_env, WORKER) as given:
        scaler = await given.start(maximum="3")
        async with asyncio.timeout(30):
            _, written = await scaler.communicate()

    assert scaler.returncode == 2
    assert b"LEVERET_SCALER_MAXIMUM" in written


async def test_sessions_that_the_database_ends_stop_nothing(
    stack_env: dict[str, str], tmp_path: Path
) -> None:
    async with house(tmp_path, stack_env, WORKER) as given:
        scaler = await given.start(idle_s="600")
        await given.submit()
        await given.until(ENDED, (1,))
        [pid] = given.alive()

        for _ in range(3):
            await given.row(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where application_name like 'leveret-scaler%' and datname = current_database()"
            )
            await given.until(
                "select count(*) from pg_stat_activity where application_name = 'leveret-scaler-leader'"
                " and datname = current_database()",
                (1,),
            )
        await given.submit()
        await given.until(ENDED, (2,))

        assert given.alive() == [pid]
        code, _ = await stop(scaler)
    assert code == 0
