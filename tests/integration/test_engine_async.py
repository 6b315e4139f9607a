"""Handlers that are `async def`, in a real engine process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from shared.errors import AlgorithmError, AlgorithmRetry, JobCanceled, JobTimedOut
from tests.integration.test_engine_host import begun, call, made, running, write_model

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gpu_worker.engine.host import EngineHost

pytestmark = pytest.mark.anyio


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[EngineHost]:
    async with running(tmp_path) as host:
        yield host


FUNCTION = """
import asyncio, threading
LOOPS = []
async def work(given, job):
    job.progress(0.5)
    await asyncio.sleep(0)
    LOOPS.append(asyncio.get_running_loop())
    print("awaited")
    return [given * 2, len(set(map(id, LOOPS))), threading.active_count()]
"""


async def test_an_async_function_runs_on_one_loop_job_after_job(host: EngineHost, tmp_path: Path) -> None:
    model = write_model(tmp_path, FUNCTION)
    seen: list[float] = []
    first = await host.run(call(model, tmp_path, 21), on_progress=seen.append)
    second = await host.run(call(model, tmp_path, 4))
    assert (made(first)[:2], made(second)[:2]) == ([42, 1], [8, 1])
    assert made(first)[2] == made(second)[2]
    assert seen == [0.5]
    assert first.log_tail == "awaited\n"
    assert host.starts == 1


CLASS = """
import asyncio
class Work:
    async def load(self, model):
        self.queue = asyncio.Queue()
        self.loop = asyncio.get_running_loop()
        self.filler = self.loop.create_task(self.fill())
    async def fill(self):
        number = 0
        while True:
            await asyncio.sleep(0.001)
            await self.queue.put(number := number + 1)
    async def warm_up(self):
        self.warm = await self.queue.get()
    async def prepare(self, given):
        return given, await self.queue.get()
    async def infer(self, items):
        assert asyncio.get_running_loop() is self.loop
        return [given + number for given, number in items]
    async def finish(self, item, raw):
        return [raw, item[1], self.warm]
"""


async def test_a_class_of_async_steps_keeps_what_load_began(host: EngineHost, tmp_path: Path) -> None:
    model = write_model(tmp_path, CLASS, function="Work")
    assert made(await host.run(call(model, tmp_path, 10))) == [12, 2, 1]
    assert made(await host.run(call(model, tmp_path, 10))) == [13, 3, 1]


TALKING = """
import asyncio
class Work:
    async def load(self, model):
        self.second = asyncio.Event()
    async def prepare(self, given):
        print("prepare", given)
        if given == 2:
            self.second.set()
        return given
    async def infer(self, items):
        await self.second.wait()
        print("infer", *items)
        return items
"""


async def test_what_coroutines_print_side_by_side_is_told_apart(host: EngineHost, tmp_path: Path) -> None:
    # Given a job that waits within infer until another one is prepared
    model = write_model(tmp_path, TALKING, function="Work")
    first, second = (call(model, tmp_path, number, job_id=f"job-{number}") for number in (1, 2))
    # When both are in the process
    await asyncio.gather(host.run(first), host.run(second))
    # Then each has its own lines
    assert first.log.text() == "prepare 1\ninfer 1\n"
    assert second.log.text() == "prepare 2\ninfer 2\n"


async def test_what_a_coroutine_raises_is_told_with_its_own_frames(host: EngineHost, tmp_path: Path) -> None:
    code = (
        "import asyncio\nasync def work(given):\n    await asyncio.sleep(0)\n    raise KeyError('no thing')\n"
    )
    with pytest.raises(AlgorithmError, match="no thing") as caught:
        await host.run(call(write_model(tmp_path, code), tmp_path))
    assert caught.value.exception == "KeyError"
    frames = [line for line in caught.value.traceback.splitlines() if line.strip().startswith("File")]
    assert len(frames) == 1
    assert "mine.py" in frames[0]


WAYS = ["import sys; sys.exit(3)", "raise KeyboardInterrupt", "raise asyncio.CancelledError"]


@pytest.mark.parametrize("way", WAYS)
async def test_leaving_by_exception_costs_the_job_and_not_the_loop(
    host: EngineHost, tmp_path: Path, way: str
) -> None:
    code = f"import asyncio\nasync def work(given):\n    if given: {way}\n    return 1\n"
    model = write_model(tmp_path, code)
    with pytest.raises(AlgorithmError):
        await host.run(call(model, tmp_path, given=True))
    assert made(await host.run(call(model, tmp_path, given=False))) == 1
    assert host.starts == 1


async def test_a_coroutine_can_ask_for_another_try(host: EngineHost, tmp_path: Path) -> None:
    code = "async def work(given, job):\n    raise job.Retry('not yet', after_s=7)\n"
    with pytest.raises(AlgorithmRetry, match="not yet") as caught:
        await host.run(call(write_model(tmp_path, code), tmp_path))
    assert caught.value.after_s == 7


ENDLESS = """
import asyncio
async def work(given, job):
    job.progress(0.5)
    while not job.cancelled: await asyncio.sleep(0.01)
    raise RuntimeError("left by itself")
"""


@pytest.mark.parametrize(("extra", "alive"), [("", False), ("[options]\ncancel_grace_s = 30", True)])
async def test_a_coroutine_is_canceled_as_a_function_is(
    host: EngineHost, tmp_path: Path, *, extra: str, alive: bool
) -> None:
    task = await begun(host, call(write_model(tmp_path, ENDLESS, extra=extra), tmp_path))
    assert await host.cancel("job-1")
    with pytest.raises(JobCanceled):
        await task
    assert host.alive is alive


async def test_a_job_that_never_awaits_is_ended_by_its_limit(host: EngineHost, tmp_path: Path) -> None:
    model = write_model(tmp_path, "async def work(given):\n    while True: pass\n")
    with pytest.raises(JobTimedOut):
        await host.run(call(model, tmp_path, timeout_s=0.5))
