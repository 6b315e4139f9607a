"""Several jobs in one engine process: stages side by side, shared batches, and who is charged for what."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gpu_worker.engine.attempt import Limits
from gpu_worker.engine.calls import EngineCall, EngineResult, Inline
from gpu_worker.engine.host import EngineHost
from gpu_worker.engine.launch import Device
from shared.catalog import Model, load_model
from shared.errors import AlgorithmError, EngineDied, JobCanceled, JobTimedOut

pytestmark = pytest.mark.anyio

TABLE = """
name = "{name}"
backend = "python"
handler = "{name}:{handler}"
{extra}
[inputs.given]
kind = "json"
[outputs.made]
kind = "json"
"""


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[EngineHost]:
    async with asyncio.timeout(60):
        host = EngineHost(interpreter=None, device=Device("cpu"), scratch=tmp_path / "scratch")
        try:
            yield host
        finally:
            await host.stop()


def write_model(
    root: Path, code: str, *, name: str = "mine", handler: str = "Work", extra: str = ""
) -> Model:
    folder = root / name
    folder.mkdir()
    (folder / "model.toml").write_text(TABLE.format(name=name, handler=handler, extra=extra))
    (folder / f"{name}.py").write_text(code)
    return load_model(folder)


class Runs:
    """Calls of one model, each with a number of its own."""

    def __init__(self, host: EngineHost, model: Model, root: Path) -> None:
        self.host, self.model, self.root = host, model, root
        self.calls: list[EngineCall] = []

    def start(
        self, given: Any, *, timeout_s: float = 30, priority: int = 5, begun: asyncio.Event | None = None
    ) -> asyncio.Task[EngineResult]:
        number = len(self.calls)
        call = EngineCall(
            f"{self.model.name}-{number}", self.model, {"given": Inline(given)}, {},
            self.root / "scratch" / f"out-{number}", timeout_s, priority=priority,
        )  # fmt: skip
        self.calls.append(call)
        on_begin = begun.set if begun else lambda: None
        return asyncio.create_task(self.host.run(call, on_begin=on_begin))

    async def first_is_computed(self, *given: Any) -> asyncio.Task[EngineResult]:
        """Start one that stays on the device until it is told; returns when it is there."""
        task = self.start(*given)
        while "computing" not in self.calls[-1].log.text():
            await asyncio.sleep(0.01)
        return task


def made(result: EngineResult) -> Any:
    return json.loads(result.outputs["made"].read())


OVERLAP = """
import threading
class Work:
    def load(self, model):
        self.met = threading.Barrier(3, timeout=20)
    def prepare(self, given):
        if given == 2: self.met.wait()
        return given
    def infer(self, items):
        if items == [1]: self.met.wait()
        return items
    def finish(self, item, raw):
        if item == 0: self.met.wait()
        return raw
"""


async def test_three_jobs_are_in_three_stages_at_one_time(host: EngineHost, tmp_path: Path) -> None:
    """Each of them waits in its stage until the two others are in theirs."""
    runs = Runs(host, write_model(tmp_path, OVERLAP), tmp_path)
    results = await asyncio.gather(*(runs.start(number) for number in range(3)))
    assert [made(result) for result in results] == [0, 1, 2]


BATCH = """
import threading
class Work:
    def load(self, model):
        self.go = threading.Event()
    def prepare(self, given):
        if given == "go": self.go.set()
        return given
    def infer(self, items):
        if items == ["first"]: print("computing"); self.go.wait(20)
        if "bad" in items: raise ValueError(f"a bad one among {len(items)}")
        return [[item, len(items)] for item in items]
"""
BATCHING = "[batching]\nmax_batch_size = 3\n"


async def test_what_waits_together_shares_an_infer(host: EngineHost, tmp_path: Path) -> None:
    runs = Runs(host, write_model(tmp_path, BATCH, extra=BATCHING), tmp_path)
    first = await runs.first_is_computed("first")
    others = [runs.start(given) for given in ("a", "b", "c", "d", "go")]

    results = await asyncio.gather(first, *others)

    assert [made(result) for result in results] == [
        ["first", 1], ["a", 3], ["b", 3], ["c", 3], ["d", 2], ["go", 2],
    ]  # fmt: skip
    assert [result.batch_size for result in results] == [1, 3, 3, 3, 2, 2]


async def test_who_has_the_higher_priority_is_in_the_first_batch(host: EngineHost, tmp_path: Path) -> None:
    code = BATCH.replace("[[item, len(items)] for item in items]", "[sorted(items)] * len(items)")
    runs = Runs(host, write_model(tmp_path, code, extra=BATCHING), tmp_path)
    first = await runs.first_is_computed("first")
    others = [runs.start(f"p{priority}", priority=priority) for priority in (1, 9, 2, 8, 7)]
    others.append(runs.start("go", priority=0))

    results = await asyncio.gather(first, *others)

    urgent, rest = ["p7", "p8", "p9"], ["go", "p1", "p2"]
    assert [made(result) for result in results] == [["first"], rest, urgent, rest, urgent, urgent, rest]


async def test_one_bad_item_fails_alone(host: EngineHost, tmp_path: Path) -> None:
    runs = Runs(host, write_model(tmp_path, BATCH, extra=BATCHING), tmp_path)
    first = await runs.first_is_computed("first")
    others = [runs.start(given) for given in ("a", "bad", "go")]

    results = await asyncio.gather(first, *others, return_exceptions=True)

    assert isinstance(results[2], AlgorithmError)
    assert "a bad one among 1" in str(results[2])
    assert [made(result) for result in results if isinstance(result, EngineResult)] == [
        ["first", 1], ["a", 1], ["go", 1],
    ]  # fmt: skip


SHAPES = """
import numpy as np
import threading
class Work:
    def load(self, model):
        self.go = threading.Event()
    def prepare(self, given):
        if given == 0: self.go.set()
        return np.zeros(given, np.float32)
    def infer(self, items):
        if items[0].shape == (9,): print("computing"); self.go.wait(20)
        assert len({item.shape for item in items}) == 1
        return [len(items)] * len(items)
"""


async def test_only_items_of_one_shape_share_an_infer(host: EngineHost, tmp_path: Path) -> None:
    extra = "[batching]\nmax_batch_size = 8\n"
    runs = Runs(host, write_model(tmp_path, SHAPES, extra=extra), tmp_path)
    first = await runs.first_is_computed(9)

    results = await asyncio.gather(first, *(runs.start(size) for size in (2, 3, 2, 3, 3, 0)))

    assert [made(result) for result in results] == [1, 2, 3, 2, 3, 3, 1]


ORDER = """
import threading
seen = []
class Work:
    def load(self, model):
        self.go = threading.Event()
    def prepare(self, given):
        if given == "go": self.go.set()
        return given
    def infer(self, items):
        if items == ["first"]: print("computing"); self.go.wait(20)
        seen.extend(items)
        return [len(seen)]
"""


async def test_the_higher_priority_goes_first(host: EngineHost, tmp_path: Path) -> None:
    runs = Runs(host, write_model(tmp_path, ORDER), tmp_path)
    first = await runs.first_is_computed("first")
    tasks = [runs.start(f"p{priority}", priority=priority) for priority in (1, 9, 5)]
    tasks.append(runs.start("go", priority=0))

    results = await asyncio.gather(first, *tasks)

    assert [made(result) for result in results] == [1, 4, 2, 3, 5]


DEADLY = """
import os, time
class Work:
    def prepare(self, given): return given
    def infer(self, items):
        if items == ["dies"]: time.sleep(0.3); os._exit(7)
        if items == ["hangs"]: time.sleep(60)
        return items
"""


@pytest.mark.parametrize(("given", "error"), [("dies", EngineDied), ("hangs", JobTimedOut)])
async def test_who_stands_in_line_pays_for_nobody(
    host: EngineHost, tmp_path: Path, given: str, error: type[Exception]
) -> None:
    runs = Runs(host, write_model(tmp_path, DEADLY), tmp_path)
    begun = asyncio.Event()
    deadly = runs.start(given, timeout_s=0.5, begun=begun)
    await begun.wait()
    innocent = [runs.start(number, timeout_s=0.4) for number in range(3)]

    with pytest.raises(error):
        await deadly

    assert [made(result) for result in await asyncio.gather(*innocent)] == [0, 1, 2]
    assert host.starts == 2


SLEEPS = """
import time
class Work:
    def prepare(self, given): return given
    def infer(self, items):
        time.sleep(items[0])
        return items
"""


async def test_a_job_that_waits_longer_than_its_time_limit_has_not_begun(
    host: EngineHost, tmp_path: Path
) -> None:
    code = SLEEPS
    runs = Runs(host, write_model(tmp_path, code), tmp_path)
    begun = asyncio.Event()
    slow = runs.start(1.0, timeout_s=10, begun=begun)
    await begun.wait()
    assert made(await runs.start(0, timeout_s=0.5)) == 0
    await slow


async def test_canceling_one_in_line_disturbs_nobody(host: EngineHost, tmp_path: Path) -> None:
    runs = Runs(host, write_model(tmp_path, ORDER), tmp_path)
    first = await runs.first_is_computed("first")
    waiting = runs.start("never")
    await asyncio.sleep(0.1)  # until it stands before the device; either way it must end canceled

    assert await host.cancel("mine-1")

    with pytest.raises(JobCanceled):
        await waiting
    last = runs.start("go")
    assert [made(await first), made(await last)] == [1, 2]
    assert host.starts == 1


PRINTS = """
import subprocess, sys, threading
class Work:
    def load(self, model):
        self.met = threading.Barrier(2, timeout=20)
    def prepare(self, given):
        print(f"prepare {given}")
        if given == 1: self.met.wait()
        sys.stderr.write(f"prepared {given}\\n")
        return given
    def infer(self, items):
        if items == [0]: self.met.wait()
        sys.stdout.buffer.write(b"infer %d\\n" % items[0])
        subprocess.run(["echo", "from a child"], check=True)
        return items
"""


async def test_each_job_gets_what_it_printed_and_nothing_of_its_neighbours(
    host: EngineHost, tmp_path: Path
) -> None:
    runs = Runs(host, write_model(tmp_path, PRINTS), tmp_path)
    await asyncio.gather(runs.start(0), runs.start(1))
    for number, call in enumerate(runs.calls):
        lines = call.log.text().splitlines()
        assert [line for line in lines if "child" not in line] == [
            f"prepare {number}", f"prepared {number}", f"infer {number}",
        ]  # fmt: skip


async def test_one_alone_gets_what_its_children_print_as_well(host: EngineHost, tmp_path: Path) -> None:
    code = PRINTS.replace("self.met.wait()", "pass")
    runs = Runs(host, write_model(tmp_path, code), tmp_path)
    await runs.start(0)
    assert runs.calls[0].log.text() == "prepare 0\nprepared 0\ninfer 0\nfrom a child\n"


TWO = """
class Work:
    def infer(self, items):
        import side
        return [side.WHO for _ in items]
"""


async def test_two_models_at_once_keep_their_modules_apart(host: EngineHost, tmp_path: Path) -> None:
    both = []
    for name in ("left", "right"):
        model = write_model(tmp_path, TWO, name=name)
        (model.folder / "side.py").write_text(f"WHO = {name!r}\n")
        both.append(Runs(host, model, tmp_path / name))
    tasks = [runs.start(0) for _ in range(10) for runs in both]
    results = await asyncio.gather(*tasks)
    assert [made(result) for result in results] == ["left", "right"] * 10


async def test_a_process_that_had_its_share_is_replaced_between_jobs(tmp_path: Path) -> None:
    host = EngineHost(
        interpreter=None, device=Device("cpu"), scratch=tmp_path / "scratch", limits=Limits(jobs=4)
    )
    model = write_model(tmp_path, SLEEPS.replace("time.sleep(items[0])", ""))
    runs = Runs(host, model, tmp_path)
    try:
        results = await asyncio.gather(*(runs.start(number) for number in range(3)))
        results += await asyncio.gather(*(runs.start(number) for number in range(3, 6)))
        results += await asyncio.gather(*(runs.start(number) for number in range(6, 9)))
    finally:
        await host.stop()
    assert [made(result) for result in results] == list(range(9))
    assert host.starts == 2


@pytest.mark.parametrize("limits", [Limits(memory_mb=200), Limits(kill_mb=600)], ids=["replaced", "killed"])
async def test_a_process_that_grew_is_replaced(tmp_path: Path, limits: Limits) -> None:
    """Before the limit at which it would be killed, under the next job."""
    host = EngineHost(interpreter=None, device=Device("cpu"), scratch=tmp_path / "scratch", limits=limits)
    code = "kept = []\ndef work(given):\n    kept.append(b'x' * given)\n    return len(kept)\n"
    runs = Runs(host, write_model(tmp_path, code, handler="work"), tmp_path)
    try:
        counts = [made(await runs.start(size)) for size in (1, 300_000_000, 1)]
    finally:
        await host.stop()
    assert counts == [1, 2, 1]
    assert host.starts == 2


@pytest.mark.parametrize(
    ("limits", "loaded_mb", "most_mb"),
    [
        (Limits(), 0, float("inf")),
        (Limits(memory_mb=200), 900, 200),
        (Limits(memory_mb=800, kill_mb=1000), 0, 800),
        (Limits(kill_mb=1000), 0, 500),
        (Limits(kill_mb=1000), 600, 800),
        (Limits(kill_mb=1000), 3000, 1000),
    ],
)
def test_an_engine_may_hold_its_models_and_half_of_what_they_leave(
    limits: Limits, loaded_mb: float, most_mb: float
) -> None:
    assert not limits.spent(1, lambda: min(most_mb, 1e9), loaded_mb)
    assert limits.spent(1, lambda: most_mb + 1, loaded_mb) == (most_mb < float("inf"))


BIG = """
class Work:
    def load(self, model):
        self.weights = bytearray(b"x") * 60_000_000
    def prepare(self, given): return given
    def infer(self, items): return items
"""


async def test_models_leave_for_others_under_a_budget_the_longest_unused_first(tmp_path: Path) -> None:
    limits = Limits(models_mb=150)
    host = EngineHost(interpreter=None, device=Device("cpu"), scratch=tmp_path / "scratch", limits=limits)
    models = {name: write_model(tmp_path, BIG, name=name) for name in ("one", "two", "three")}
    loads = []
    try:
        for name in ("one", "two", "one", "three", "one", "two"):
            result = await Runs(host, models[name], tmp_path / name).start(1)
            loads.append((name, "load_s" in result.timings))
    finally:
        await host.stop()
    assert loads == [
        ("one", True), ("two", True), ("one", False), ("three", True), ("one", False), ("two", True),
    ]  # fmt: skip
    assert host.starts == 1


CLINGS = """
import time
class Work:
    def load(self, model):
        self.weights = bytearray(b"x") * 60_000_000
    def __del__(self): time.sleep(60)
    def prepare(self, given): return given
    def infer(self, items): return items
"""


async def test_a_model_that_does_not_leave_goes_with_its_process(tmp_path: Path) -> None:
    limits = Limits(models_mb=80, load_s=5)
    host = EngineHost(interpreter=None, device=Device("cpu"), scratch=tmp_path / "scratch", limits=limits)
    clinging, other = write_model(tmp_path, CLINGS, name="clinging"), write_model(tmp_path, BIG, name="other")
    try:
        await Runs(host, clinging, tmp_path / "clinging").start(1)
        async with asyncio.timeout(40):
            assert made(await Runs(host, other, tmp_path / "other").start(2)) == 2
    finally:
        await host.stop()
    assert host.starts == 2


TELLS = """
import time
class Work:
    def prepare(self, given):
        print("prepared", flush=True)
        return given
    def infer(self, items):
        print("computing", flush=True)
        time.sleep(max(items))
        return items
"""


async def prepared(call: EngineCall) -> None:
    async with asyncio.timeout(20):
        while "prepared" not in call.log.text():
            await asyncio.sleep(0.01)


async def test_the_second_of_a_batch_may_come_within_the_delay(host: EngineHost, tmp_path: Path) -> None:
    extra = "[batching]\nmax_batch_size = 2\nmax_queue_delay_ms = 20000\n"
    runs = Runs(host, write_model(tmp_path, TELLS, extra=extra), tmp_path)
    first = runs.start(0)
    await prepared(runs.calls[0])
    results = await asyncio.gather(first, runs.start(0))
    assert [result.batch_size for result in results] == [2, 2]


async def test_who_has_ended_is_told_before_another_waits_for_its_batch(
    host: EngineHost, tmp_path: Path
) -> None:
    plain = write_model(tmp_path, "def run(given): return given", name="plain", handler="run")
    extra = "[batching]\nmax_batch_size = 2\nmax_queue_delay_ms = 4000\n"
    batched = Runs(host, write_model(tmp_path, TELLS, name="batched", extra=extra), tmp_path / "batched")
    await host.load(plain)
    # Given a full batch on the device, one more prepared, and a job of another model that goes before it
    full = [batched.start(0.5), batched.start(0.5)]
    lonely = batched.start(0)
    await prepared(batched.calls[2])
    ending = Runs(host, plain, tmp_path / "plain").start(1, timeout_s=2, priority=9)
    # Then the latter is not kept while the lonely one waits for company
    assert made(await ending) == 1
    assert not lonely.done()
    await asyncio.gather(*full, lonely)


FINISHES = """
import time
class Work:
    def prepare(self, given): return given
    def infer(self, items): return items
    def finish(self, item, raw):
        if item == "hangs": time.sleep(60)
        return raw
"""


async def test_a_hang_in_finish_ends_though_the_device_has_gone_on(host: EngineHost, tmp_path: Path) -> None:
    extra = "[batching]\nmax_batch_size = 2\nmax_queue_delay_ms = 50\n"
    runs = Runs(host, write_model(tmp_path, FINISHES, extra=extra), tmp_path)
    hanging = runs.start("hangs", timeout_s=0.5)
    others = [runs.start(number) for number in range(5)]
    with pytest.raises(JobTimedOut):
        await hanging
    assert [made(result) for result in await asyncio.gather(*others)] == list(range(5))


AS_IT_IS = "class Work:\n    def infer(self, items):\n        return [1 for _ in items]\n"


async def test_an_odd_item_costs_its_own_job_only(host: EngineHost, tmp_path: Path) -> None:
    """Items of one shape share a batch, and a shape can be too deep to be told."""
    deep: Any = 1
    for _ in range(900):
        deep = [deep]
    runs = Runs(host, write_model(tmp_path, AS_IT_IS, extra=BATCHING), tmp_path)
    file = tmp_path / "deep.json"
    file.write_text("[" * 900 + "]" * 900)
    task = runs.start(None)
    runs.calls[0].inputs["given"] = file
    await asyncio.wait([task])
    assert made(await runs.start(1)) == 1
    assert host.starts == 1


TURNS = """
import time
class Work:
    def prepare(self, given): return given
    def infer(self, items):
        print("computing")
        time.sleep(items[0])
        return items
"""


async def test_waiting_for_another_models_turn_is_no_work(host: EngineHost, tmp_path: Path) -> None:
    left, right = (
        Runs(host, write_model(tmp_path, TURNS, name=name), tmp_path / name) for name in ("left", "right")
    )
    await right.start(0)
    slow = await left.first_is_computed(1.5)
    assert made(await right.start(0, timeout_s=0.5)) == 0
    assert made(await slow) == 1.5
    assert host.starts == 1


REPEATED = """
import time
class Work:
    def load(self, model):
        import threading
        self.go = threading.Event()
    def prepare(self, given):
        if given == "go": self.go.set()
        return given
    def infer(self, items):
        if items == ["first"]: print("computing"); self.go.wait(20)
        elif len(items) > 1: raise ValueError("not together")
        else: time.sleep(0.4)
        return items
"""


async def test_each_of_a_batch_that_is_repeated_has_its_own_time(host: EngineHost, tmp_path: Path) -> None:
    extra = "[batching]\nmax_batch_size = 4\n"
    runs = Runs(host, write_model(tmp_path, REPEATED, extra=extra), tmp_path)
    first = await runs.first_is_computed("first")
    tasks = [runs.start(given, timeout_s=1) for given in ("a", "b", "c", "go")]
    results = await asyncio.gather(first, *tasks)
    assert [made(result) for result in results] == ["first", "a", "b", "c", "go"]
    assert host.starts == 1


async def test_canceling_one_whose_model_waits_to_be_loaded_disturbs_nobody(
    host: EngineHost, tmp_path: Path
) -> None:
    slowly = "import time\ntime.sleep(1.5)\n" + TURNS
    left = Runs(host, write_model(tmp_path, TURNS, name="left"), tmp_path / "left")
    right = Runs(host, write_model(tmp_path, slowly, name="right"), tmp_path / "right")
    slow = await left.first_is_computed(1.0)
    waiting = right.start(0)
    await asyncio.sleep(0.2)  # until its load stands before the device; either way it must end canceled

    assert await host.cancel("right-0")

    with pytest.raises(JobCanceled):
        await waiting
    assert made(await slow) == 1.0
    assert made(await right.start(0)) == 0
    assert host.starts == 1


UNTIL = """
import time
from pathlib import Path
class Work:
    def prepare(self, given):
        print("computing")
        while not Path(given).exists():
            time.sleep(0.01)
        return given
    def infer(self, items): return items
"""


async def test_canceling_one_whose_model_is_being_loaded_disturbs_nobody(
    host: EngineHost, tmp_path: Path
) -> None:
    """The load is at the device, where only an end of the process would stop it: it goes on for nobody."""
    go = tmp_path / "go"
    left = Runs(host, write_model(tmp_path, UNTIL, name="left"), tmp_path / "left")
    right = Runs(host, write_model(tmp_path, TURNS, name="right"), tmp_path / "right")
    at_work = await left.first_is_computed(str(go))
    begun = asyncio.Event()
    waiting = right.start(0, begun=begun)
    await begun.wait()

    assert await host.cancel("right-0")

    with pytest.raises(JobCanceled):
        await waiting
    assert not at_work.done()
    go.touch()
    assert made(await at_work) == str(go)
    assert made(await right.start(0)) == 0
    assert host.starts == 1


async def test_a_load_that_nobody_waits_for_any_more_ends_with_its_process(
    host: EngineHost, tmp_path: Path
) -> None:
    hangs = "import time\nwhile True: time.sleep(0.1)\n"
    left = Runs(host, write_model(tmp_path, TURNS, name="left"), tmp_path / "left")
    right = Runs(host, write_model(tmp_path, hangs, name="right"), tmp_path / "right")
    assert made(await left.start(0)) == 0
    begun = asyncio.Event()
    waiting = right.start(0, begun=begun)
    await begun.wait()
    behind = left.start(0)  # it stands in line behind the load
    await asyncio.sleep(0)

    assert await host.cancel("right-0")
    assert host.alive
    assert await host.cancel("left-1")

    for task in (waiting, behind):
        with pytest.raises(JobCanceled):
            await task
    assert made(await left.start(0)) == 0
    assert host.starts == 2


PREPARES = """
import threading, time
class Work:
    def load(self, model):
        self.go = threading.Event()
    def prepare(self, given):
        if given == "slow": print("computing"); time.sleep(0.5)
        if given == "go": self.go.set()
        return given
    def infer(self, items):
        if items == ["first"]: print("computing"); self.go.wait(20)
        return items
"""


async def test_one_canceled_while_it_is_prepared_does_not_wait_for_the_device(
    host: EngineHost, tmp_path: Path
) -> None:
    extra = "[options]\ncancel_grace_s = 5\n"
    runs = Runs(host, write_model(tmp_path, PREPARES, extra=extra), tmp_path)
    first = await runs.first_is_computed("first")
    slow = await runs.first_is_computed("slow")

    assert await host.cancel("mine-1")

    with pytest.raises(JobCanceled):
        await slow
    assert not first.done()
    await runs.start("go")
    assert made(await first) == "first"
    assert host.starts == 1
