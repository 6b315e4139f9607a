"""Models whose load hangs, in real engine processes: what they cost, and what they may not cost."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from gpu_worker.engine.attempt import Limits
from gpu_worker.engine.calls import EngineCall, EngineResult, Inline
from gpu_worker.engine.host import EngineHost
from gpu_worker.engine.launch import Device
from gpu_worker.engine.overdue import BASE_S, Overdue
from gpu_worker.engines import Engines, devices_of
from shared.catalog import Model
from shared.errors import LoadOverdue
from tests.integration.test_engines import Calls, engines, said, write_model

pytestmark = pytest.mark.anyio

HANGS = "import time\ntime.sleep(1e4)\ndef run(given): ..."
HANGS_UNTIL = """
import time
from pathlib import Path
Path({begun!r}).touch()
while not Path({until!r}).exists():
    time.sleep(0.01)
def run(given):
    return "here"
"""
QUICK = Limits(load_s=3)


async def test_a_load_that_hangs_costs_its_own_model_only(tmp_path: Path) -> None:
    # Given a worker that loads its models, one of which hangs
    good, hangs = write_model(tmp_path), write_model(tmp_path, "hangs", HANGS)
    async with engines(tmp_path, *devices_of("cpu", 1), limits=QUICK) as made:
        assert await made.preload([good, hangs]) == []

        # Then what was loaded before it is there again, and answers without a load
        assert [held.name for held in made.held()] == ["waits"]
        calls = Calls(made, good, tmp_path)
        calls.let_go()
        first = await (await calls.start())
        assert "load_s" not in first.timings

        # And a job of the hanging one is refused by name, in the same moment: nobody's process ends for it
        with pytest.raises(LoadOverdue, match=r"hangs@1 did not load within 3 s.* tried again from .* UTC"):
            await job(made, hangs, tmp_path, 2)
        second = await (await calls.start())
        assert said(second)["pid"] == said(first)["pid"]


async def test_jobs_that_wait_behind_a_hanging_load_are_refused_or_run_after_it(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    code = HANGS_UNTIL.format(begun=str(begun), until=str(tmp_path / "never"))
    good, hangs = write_model(tmp_path), write_model(tmp_path, "hangs", code)
    async with engines(tmp_path, *devices_of("cpu", 1), limits=QUICK) as made:
        calls = Calls(made, good, tmp_path)
        calls.let_go()
        await (await calls.start())
        loads = [asyncio.create_task(job(made, hangs, tmp_path, number)) for number in (11, 12, 13)]
        await appeared(begun)
        begun.unlink()

        assert said(await (await calls.start()))["pid"]

        told = await asyncio.gather(*loads, return_exceptions=True)
        assert [type(error) for error in told] == [LoadOverdue] * 3
        assert not begun.exists()  # only the first of them was tried
        assert made.uses()[0].starts == 2


async def test_another_engine_answers_while_a_load_hangs(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    code = HANGS_UNTIL.format(begun=str(begun), until=str(tmp_path / "never"))
    good, hangs = write_model(tmp_path), write_model(tmp_path, "hangs", code)
    async with engines(tmp_path, *devices_of("cpu", 2)) as made:
        await made.preload([good])
        calls = Calls(made, good, tmp_path)
        calls.let_go()
        hanging = asyncio.create_task(job(made, hangs, tmp_path, 11))
        await appeared(begun)
        assert said(await (await calls.start()))["pid"]
        assert not hanging.done()
        hanging.cancel()
        await asyncio.wait({hanging})


SECOND_HANGS = """
import time
from pathlib import Path
try:
    Path({first!r}).touch(exist_ok=False)
except FileExistsError:
    time.sleep(1e4)
def run(given):
    return "here"
"""


async def test_an_engine_that_holds_a_model_runs_it_though_another_could_not_load_it(tmp_path: Path) -> None:
    code = SECOND_HANGS.format(first=str(tmp_path / "first"))
    good, odd = write_model(tmp_path), write_model(tmp_path, "odd", code)
    async with engines(tmp_path, *devices_of("cpu", 2), limits=QUICK) as made:
        await made.preload([good, odd])
        assert [(held.name, held.engines) for held in made.held()] == [("odd", 1), ("waits", 2)]
        results = await asyncio.gather(*(job(made, odd, tmp_path, number) for number in range(11, 15)))
        assert not any("load_s" in result.timings for result in results)


async def test_a_worker_is_ready_though_many_of_its_models_hang(tmp_path: Path) -> None:
    """Two loads that ran out of time are enough: the rest is loaded by its first jobs."""
    good = write_model(tmp_path)
    hanging = [write_model(tmp_path, name, HANGS) for name in ("one", "two", "three")]
    async with engines(tmp_path, *devices_of("cpu", 1), limits=Limits(load_s=2)) as made:
        await made.preload([good, *hanging])
        assert [held.name for held in made.held()] == ["waits"]
        assert made.uses()[0].starts == 3


async def test_a_model_is_tried_again_when_its_time_has_come(tmp_path: Path) -> None:
    begun, until = tmp_path / "begun", tmp_path / "until"
    model = write_model(tmp_path, "late", HANGS_UNTIL.format(begun=str(begun), until=str(until)))
    now = [0.0]
    overdue = Overdue(lambda: now[0])
    host = EngineHost(
        interpreter=None, device=Device("cpu"), scratch=tmp_path / "s", limits=QUICK, overdue=overdue
    )
    try:
        with pytest.raises(LoadOverdue):
            await host.load(model)
        until.touch()
        with pytest.raises(LoadOverdue):
            await host.load(model)
        now[0] = BASE_S
        assert (await host.load(model)).load_s > 0
        assert host.holds(model)
    finally:
        await host.stop()


async def job(made: Engines, model: Model, root: Path, number: int) -> EngineResult:
    scratch = root / "scratch" / f"out-{number}"
    call = EngineCall(f"job-{number}", model, {"given": Inline(None)}, {}, scratch, 30)
    return await made.run(
        call, entering=contextlib.nullcontext(), on_progress=lambda _: None, on_begin=lambda: None
    )


async def appeared(file: Path) -> None:
    async with asyncio.timeout(20):
        while not file.exists():
            await asyncio.sleep(0.01)
