"""Several engine processes of one worker: who gets a job, what each computes on, and who suffers a death."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gpu_worker.engine.attempt import Limits
from gpu_worker.engine.calls import EngineCall, EngineResult, Inline
from gpu_worker.engine.launch import Device
from gpu_worker.engines import Engines, devices_of
from gpu_worker.execution import Execution
from gpu_worker.gate import Gate
from gpu_worker.hold import Hold
from gpu_worker.outcomes import Finish
from shared.catalog import Model, load_model
from shared.errors import AlgorithmError, DeviceMissing, EngineDied, Misconfigured
from shared.jobs import State
from tests.fakes.worker import FakeObjects
from tests.unit.gpu_worker.claims import claim

pytestmark = pytest.mark.anyio

NO_LIMITS = Limits()
TABLE = """
name = "{name}"
backend = "python"
handler = "{name}:run"
[inputs.given]
kind = "json"
[outputs.made]
kind = "json"
"""
WAITS = """
import json, os, time
from pathlib import Path

def run(given):
    Path(given["started"]).touch()
    while not Path(given["until"]).exists():
        time.sleep(0.01)
    if given.get("exit"):
        os._exit(3)
    return {"pid": os.getpid(), "share": os.environ["LEVERET_ENGINE_SHARE"],
            "gpu": os.environ.get("CUDA_VISIBLE_DEVICES"), "threads": os.environ.get("OMP_NUM_THREADS")}
"""


@contextlib.asynccontextmanager
async def engines(
    root: Path, *devices: Device, limits: Limits = NO_LIMITS, gone: list[DeviceMissing] | None = None
) -> AsyncIterator[Engines]:
    missing = [] if gone is None else gone
    async with asyncio.timeout(60):
        made = Engines(devices=devices, scratch=root / "scratch", limits=limits, on_missing=missing.append)
        try:
            yield made
        finally:
            await made.stop()
        assert gone is missing or not missing


def write_model(root: Path, name: str = "waits", code: str = WAITS) -> Model:
    folder = root / name
    folder.mkdir()
    (folder / "model.toml").write_text(TABLE.format(name=name))
    (folder / f"{name}.py").write_text(code)
    return load_model(folder)


class Calls:
    """Jobs that say where they run, and stay until they are let go."""

    def __init__(self, made: Engines, model: Model, root: Path) -> None:
        self.engines, self.model, self.root = made, model, root
        self.count = 0

    async def start(self, **given: Any) -> asyncio.Task[EngineResult]:
        """Returns once it is at work."""
        self.count += 1
        started = self.root / f"started-{self.count}"
        task = asyncio.create_task(
            self._run({"started": str(started), "until": str(self.root / "go")} | given)
        )
        while not started.exists():
            assert not task.done(), task.result()
            await asyncio.sleep(0.01)
        return task

    async def _run(self, given: dict[str, Any]) -> EngineResult:
        scratch = self.root / "scratch" / f"out-{self.count}"
        call = EngineCall(f"job-{self.count}", self.model, {"given": Inline(given)}, {}, scratch, 30)
        return await self.engines.run(
            call, entering=contextlib.nullcontext(), on_progress=lambda _: None, on_begin=lambda: None
        )

    def let_go(self) -> None:
        (self.root / "go").touch()


def said(result: EngineResult) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(result.outputs["made"].body)
    return answer


async def test_two_jobs_of_one_model_compute_at_the_same_time_in_two_processes(tmp_path: Path) -> None:
    async with engines(tmp_path, *devices_of("cpu", 2)) as made:
        calls = Calls(made, write_model(tmp_path), tmp_path)
        tasks = [await calls.start(), await calls.start()]
        calls.let_go()
        first, second = [said(await task) for task in tasks]
    assert all("load_s" in task.result().timings for task in tasks)
    assert first["pid"] != second["pid"]
    assert first["share"] == second["share"] == "2"


async def test_a_death_in_one_engine_does_not_touch_the_other(tmp_path: Path) -> None:
    async with engines(tmp_path, *devices_of("cpu", 2)) as made:
        calls = Calls(made, write_model(tmp_path), tmp_path)
        (tmp_path / "now").touch()
        neighbour = await calls.start()
        with pytest.raises(EngineDied):
            await (await calls.start(until=str(tmp_path / "now"), exit=True))
        assert not neighbour.done()
        calls.let_go()
        assert said(await neighbour)["pid"]


async def test_a_model_is_loaded_in_every_engine_before_it_is_needed(tmp_path: Path) -> None:
    async with engines(tmp_path, *devices_of("cpu", 2)) as made:
        model = write_model(tmp_path)
        await made.preload([model])
        calls = Calls(made, model, tmp_path)
        tasks = [await calls.start(), await calls.start()]
        calls.let_go()
        results = [await task for task in tasks]
    assert ["load_s" in result.timings for result in results] == [False, False]


async def test_of_idle_engines_the_one_that_holds_the_model_gets_the_job(tmp_path: Path) -> None:
    async with engines(tmp_path, *devices_of("cpu", 2)) as made:
        ours, other = (
            Calls(made, write_model(tmp_path, name), tmp_path / name) for name in ("waits", "other")
        )
        keeping = await ours.start()
        theirs = said_soon(await other.start(), other)  # in the second process: the first is busy
        ours.let_go()
        await keeping
        pid = (await theirs)["pid"]
        again = await other.start()
        assert said(await again)["pid"] == pid


async def test_an_engine_that_has_had_its_share_is_not_preferred(tmp_path: Path) -> None:
    async with engines(tmp_path, *devices_of("cpu", 2), limits=Limits(jobs=1)) as made:
        model = write_model(tmp_path)
        await made.preload([model])
        calls = Calls(made, model, tmp_path)
        calls.let_go()
        first, second = [await (await calls.start()) for _ in range(2)]
    assert said(first)["pid"] != said(second)["pid"]
    assert "load_s" not in second.timings


async def test_every_load_is_told_once_and_so_is_what_is_held(tmp_path: Path) -> None:
    async with engines(tmp_path, *devices_of("cpu", 2)) as made:
        model = write_model(tmp_path)
        assert (made.loads(), made.held()) == ([], [])

        # Loaded in each engine; loading it again loads nothing
        await made.preload([model])
        await made.preload([model])
        first = made.loads()
        assert [(load.name, load.version) for load in first] == [("waits", model.version)] * 2
        assert all(load.load_s is not None and load.load_s > 0 for load in first)
        [held] = made.held()
        assert (held.name, held.version, held.engines) == ("waits", model.version, 2)
        assert held.load_s == max(load.load_s or 0 for load in first)

        # An engine that died holds nothing, and loads anew for the next job
        calls = Calls(made, model, tmp_path)
        calls.let_go()
        made.told(first)
        with pytest.raises(EngineDied):
            await (await calls.start(exit=True))
        assert made.held()[0].engines == 1
        keeping = [await calls.start(until=str(tmp_path / "later")) for _ in range(2)]
        again = made.loads()
        (tmp_path / "later").touch()
        await asyncio.gather(*keeping)
        assert len(again) == 1
        assert again[0].id not in {load.id for load in first}
        assert made.held()[0].engines == 2


async def test_what_no_engine_could_load_is_no_load(tmp_path: Path) -> None:
    async with engines(tmp_path, *devices_of("cpu", 1)) as made:
        await made.preload([write_model(tmp_path, "broken", "raise ValueError")])
        assert (made.loads(), made.held()) == ([], [])


FULL = """
class Full(RuntimeError): ...
Full.__module__ = "torch"
raise Full("CUDA out of memory")
"""


async def test_a_model_that_does_not_fit_the_gpu_stops_no_worker(tmp_path: Path) -> None:
    async with engines(tmp_path, *devices_of("cpu", 1)) as made:
        model, full = write_model(tmp_path), write_model(tmp_path, "full", FULL)
        await made.preload([full, model])
        calls = Calls(made, model, tmp_path)
        calls.let_go()
        assert "load_s" not in (await (await calls.start())).timings


async def test_a_gpu_that_is_missing_is_told_to_the_worker(tmp_path: Path) -> None:
    gone: list[DeviceMissing] = []
    async with engines(tmp_path, Device("cuda"), gone=gone) as made:
        lacking = await made.preload([write_model(tmp_path)])
    assert lacking == gone
    assert "device cuda" in str(gone[0])


MISSES = """
from gpu_worker.engine.job import DeviceMissingError

def run(given):
    raise DeviceMissingError("no GPU, it says")
"""


@pytest.mark.parametrize("code", [MISSES, "run = None\n" + MISSES.replace("def run(given):", "if True:")])
async def test_an_algorithm_on_a_cpu_cannot_say_that_the_device_is_missing(tmp_path: Path, code: str) -> None:
    async with engines(tmp_path, Device("cpu")) as made:
        model = write_model(tmp_path, "misses", code)
        assert await made.preload([model]) == []
        calls = Calls(made, model, tmp_path)
        with pytest.raises(AlgorithmError, match="no GPU, it says"):
            await (await calls.start())


async def said_soon(task: asyncio.Task[EngineResult], calls: Calls) -> dict[str, Any]:
    calls.let_go()
    return said(await task)


def test_a_gpu_for_each_engine_of_those_the_worker_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a, GPU-b,GPU-c")
    assert [device.gpu for device in devices_of("cuda", 2)] == ["GPU-a", "GPU-b"]
    assert devices_of("cuda", 1) == (Device("cuda"),)
    with pytest.raises(Misconfigured, match="4 engines want a GPU each, CUDA_VISIBLE_DEVICES names 3"):
        devices_of("cuda", 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert [device.gpu for device in devices_of("cuda", 2)] == ["0", "1"]


IN_TURN = """
import time

def run(given):
    time.sleep(0.3)
    if given == "bad":
        raise ValueError("no")
    return given
"""


async def test_a_job_tells_how_long_it_waited_for_its_turn_within_the_worker(tmp_path: Path) -> None:
    """Four slots and one engine: four plain functions run one after the other, and say so."""
    model = write_model(tmp_path, "inturn", IN_TURN)
    async with engines(tmp_path, Device("cpu")) as made:
        await made.preload([model])

        async def waited(given: str) -> dict[str, float]:
            job = claim(model="inturn", inputs={"given": {"json": given}})
            execution = Execution(
                Hold(job), model, made, Gate(), FakeObjects(), tmp_path / "work", lambda _: None
            )
            outcome = await execution.run()
            assert isinstance(outcome, Finish)
            assert outcome.ending.state is (State.FAILED if given == "bad" else State.SUCCEEDED)
            return dict(outcome.ending.evidence.timings)

        told = await asyncio.gather(*(waited(given) for given in ("a", "b", "c", "bad")))

    ranked = sorted(told, key=lambda timings: timings["turn_s"])
    for place, timings in enumerate(ranked):  # each waited while those before it were at work
        assert timings["turn_s"] >= 0.28 * place
    assert ranked[-1]["turn_s"] > ranked[0]["turn_s"]
