"""Hostile inputs, models and algorithms: each is told so on its own job, and disturbs nobody.

Every one of them runs while two well-behaved jobs are in the same worker's hands: one of another model in the
same engine, and one that is at work in an engine with an interpreter of its own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gateway.client import AsyncClient, AsyncJob
from tests.e2e.counting import Books
from tests.e2e.hostility import APART, BESIDE, Company, canvas, hostile_catalog, largest, peak_mb, unharmed
from tests.e2e.processes import PYTHON, Gate, House, WorkerProcess, until
from tests.gateway_process import gateway_process

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

WORKER_MB = 150
"""Published: what a worker's own process holds, whatever its engines do."""
GROWN_MB = 30
SCRATCH_MB = 20
ENGINE_MB = 400
KILL_MB = 1000
STRAY = {
    "TF_VAR_db_password": "s3cret-of-tf",
    "TORCH_PASSWD": "s3cret-of-db",
    "AWS_SECRET_ACCESS_KEY": "s3cret-aws",
}
"""What else is found in a worker's environment."""
SECRETS = [
    "LEVERET_POSTGRES_DSN",
    "LEVERET_RABBITMQ_URL",
    "LEVERET_REDIS_URL",
    "LEVERET_S3_SECRET_KEY",
    *STRAY,
]
_POWERS = "-sys_ptrace,-sys_admin,-perfmon"
UNTRACING = ("setpriv", "--bounding-set", _POWERS, "--inh-caps", _POWERS, "--")
"""Root may look into any process; a worker of a plain user, and this root, may not."""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A catalog in which every model but the neighbours has something wrong with it."""
    root = tmp_path_factory.mktemp("hostile")
    hostile_catalog(root)
    return {"LEVERET_CATALOG_PATH": str(root)}


@pytest.fixture(scope="module")
def door(house: House, settings: dict[str, str]) -> Iterator[str]:
    """A gateway's address."""
    with gateway_process(house.env, house.folder, **settings) as gateway:
        house.logs["gateway-hostile"] = gateway.log
        yield gateway.url


@pytest.fixture
async def caller(door: str, key: str, books: Books) -> AsyncIterator[AsyncClient]:
    assert books
    async with AsyncClient(door, key) as opened:
        yield opened


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="module")
def worker(house: House, door: str, settings: dict[str, str], scratch: Path) -> Iterator[WorkerProcess]:
    """One worker for all of it."""
    assert door
    wrapped = UNTRACING if os.geteuid() == 0 and shutil.which("setpriv") else ()
    with house.worker(
        "hostile",
        env=settings | STRAY,
        command=(*wrapped, *PYTHON, "gpu_worker"),
        slots="6",
        scratch=str(scratch),
        engine_memory_mb=str(ENGINE_MB),
        engine_memory_kill_mb=str(KILL_MB),
    ) as started:
        yield started


@pytest.fixture(autouse=True)
async def nothing_is_left(
    caller: AsyncClient, worker: WorkerProcess, books: Books, scratch: Path
) -> AsyncIterator[None]:
    """Whatever a test did, the worker is as it was, and serves."""
    yield
    for name in (BESIDE, APART):
        job = await (await caller.submit(name, note="after")).wait()
        assert await books.attempts(job.id) == [(1, "succeeded")]
    assert worker.process.poll() is None
    assert peak_mb(worker.pid) < WORKER_MB
    await until(lambda: not list(scratch.glob("*/[!e]*")), why="the attempts' folders are removed")


@pytest.fixture
async def apart(
    caller: AsyncClient, worker: WorkerProcess, books: Books, tmp_path: Path
) -> AsyncIterator[AsyncJob]:
    """At work in another engine before the test begins and after it, unharmed."""
    assert worker.pid
    gate = Gate(tmp_path / "apart")
    try:
        job = await caller.submit(APART, note="apart", params=gate.params)
        await gate.until_runs(1)
        yield job
        assert (await job.refresh()).state == "running"
    finally:
        gate.open()
    await unharmed(job, books)
    assert len(gate.runs()) == 1


@pytest.fixture
def company(caller: AsyncClient, worker: WorkerProcess, books: Books, gate: Gate, apart: AsyncJob) -> Company:
    assert apart.id
    return Company(caller, worker, books, gate)


def check_told(job: AsyncJob, code: str, said: str) -> None:
    assert job.state == "failed"
    assert job.error is not None
    assert job.error["code"] == code
    assert re.search(said, job.error["message"]), job.error["message"]
    assert "Traceback" not in job.error["message"]
    assert not job.outputs


LAST = {"max_attempts": 1}
"""A second attempt would run alone, and wait for the job that is at work all the time."""
MISDEEDS = [
    pytest.param("raises", {}, ("algorithm_error", "^the mask is empty$"), id="raises"),
    pytest.param("misdescribes", {}, ("invalid_output", r"outputs\.note: .*JSON"), id="no JSON"),
    pytest.param("hangs", {"timeout_s": 1}, ("timeout", "^ran longer than 1 s"), id="hangs"),
    pytest.param("exits", LAST, ("worker_lost", "ended with code 3.*before the end"), id="exits"),
    pytest.param("grows", LAST, ("worker_lost", f"memory, more than {KILL_MB} MB$"), id="grows"),
]


@pytest.mark.parametrize(("deed", "options", "told"), MISDEEDS)
async def test_a_misdeed_fails_its_own_job(
    company: Company, books: Books, deed: str, options: dict[str, Any], told: tuple[str, str]
) -> None:
    job = await company.misdeed(deed, **options)

    check_told(job, *told)
    assert await books.attempts(job.id) == [(1, "failed")]


UNFIT = [
    pytest.param(
        "hostile_picture",
        {"image": lambda: b"\x89"},
        ("bad_input", r"^inputs\.image: .*not an image"),
        id="1-byte PNG",
    ),
    pytest.param(
        "hostile_picture",
        {"image": partial(canvas, 40_000)},
        ("bad_input", r"^inputs\.image: 1600000000 pixels; at most 50000000 are accepted$"),
        id="40,000 x 40,000 PNG",
    ),
    pytest.param(
        "hostile_swapped",
        {"note": lambda: 1},
        ("model_unavailable", r"hostile_swapped.*gated\.py: its sha256 is"),
        id="wrong digest",
    ),
    pytest.param(
        "hostile_graph",
        {"x": lambda: b"0"},
        ("algorithm_error", r"'\.\./\.\./w\.bin', outside the model's folder, which is refused: put a copy"),
        id="weights outside",
    ),
    pytest.param(
        "hostile_shape",
        {"note": lambda: 1},
        ("invalid_output", r"^outputs\.picture: this array is no image: uint8 of shape \(4, 4, 7\);"),
        id="wrong shape",
    ),
]


@pytest.mark.parametrize(("model", "inputs", "told"), UNFIT)
async def test_what_does_not_fit_fails_its_own_job(
    company: Company, books: Books, model: str, inputs: dict[str, Any], told: tuple[str, str]
) -> None:
    job = await company.failing(model, **{name: make() for name, make in inputs.items()})

    check_told(job, *told)
    assert await books.attempts(job.id) == [(1, "failed")]


@pytest.mark.parametrize("deed", ["prints", "prints_past_python"])
async def test_a_gigabyte_of_output_takes_neither_memory_nor_disk(
    company: Company, worker: WorkerProcess, scratch: Path, measured: list[str], deed: str
) -> None:
    before = peak_mb(worker.pid)
    async with largest(scratch, worker.log) as sizes:
        job = await company.misdeed(deed)
    assert job.state == "succeeded"
    (attempt,) = (await company.caller.logs(job.id))["attempts"]
    assert len(attempt["log"]) < 66_000
    if deed == "prints":
        assert "bytes before this were dropped" in attempt["log"]
    grown = peak_mb(worker.pid) - before
    measured.append(f"{deed} 1 GB: its worker grew by {grown:.1f} MB to {before + grown:.0f} MB at most")
    assert grown < GROWN_MB
    assert max(sizes) < SCRATCH_MB


async def test_a_leak_costs_its_engine_and_no_job(company: Company, caller: AsyncClient, gate: Gate) -> None:
    job = await company.misdeed("leaks")
    assert job.state == "succeeded"
    again = Gate(gate.path)
    await (await caller.submit("hostile", note=1, params={"deed": "leaks", **again.params})).wait()
    first, second = gate.runs()
    assert first != second
    await until(lambda: not Path(f"/proc/{first}").exists(), why="the engine that leaked is gone")


async def test_no_credential_can_be_read(
    company: Company, worker: WorkerProcess, stack_env: dict[str, str]
) -> None:
    job = await company.misdeed("reads", worker.pid)
    assert job.state == "succeeded"
    seen = json.loads(await job.outputs["note"].bytes())
    hidden = [value for name, value in seen.items() if name.startswith(f"{worker.pid} ")]
    assert set(hidden) - {seen[f"{worker.pid} cmdline"]} == {"refused: Permission denied"}
    for text in seen.values():
        assert not [name for name in SECRETS if name in text or (stack_env | STRAY).get(name, name) in text]


async def test_what_is_left_running_ends_with_its_engine(
    company: Company, caller: AsyncClient, gate: Gate
) -> None:
    job = await company.misdeed("forks")
    left = json.loads(await job.outputs["note"].bytes())
    assert len(left) == 3

    died = await caller.submit("hostile", note=1, params={"deed": "exits", **gate.params}, max_attempts=1)
    await died.wait(check=False)

    check_told(died, "worker_lost", "ended with code 3")
    await until(lambda: not [pid for pid in left if Path(f"/proc/{pid}").exists()], why="they are gone")


async def test_a_fork_that_comes_back_answers_for_nobody(company: Company, books: Books) -> None:
    job = await company.misdeed("doubles", "the parent's", timeout_s=10)
    assert job.state == "succeeded"
    assert json.loads(await job.outputs["note"].bytes()) == "the parent's"
    assert await books.attempts(job.id) == [(1, "succeeded")]
