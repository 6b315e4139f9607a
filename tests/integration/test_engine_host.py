"""A real engine process under every kind of algorithm, the hostile ones included."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import struct
import sys
import zlib
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from gpu_worker.engine.attempt import Limits
from gpu_worker.engine.calls import EngineCall, Inline
from gpu_worker.engine.host import EngineHost
from gpu_worker.engine.launch import Device
from shared.catalog import Model, load_catalog, load_model, write_index
from shared.errors import (
    AlgorithmError,
    AlgorithmRetry,
    BadInput,
    DeviceError,
    EngineDied,
    InvalidOutput,
    JobCanceled,
    JobTimedOut,
    LeveretError,
    ModelUnavailable,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio

TABLE = """
name = "{name}"
version = "1"
backend = "python"
handler = "{name}:{function}"
{extra}
[inputs.given]
kind = "json"
[outputs.made]
kind = "json"
"""


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[EngineHost]:
    async with running(tmp_path) as host:
        yield host


def write_model(
    root: Path, code: str, *, function: str = "work", name: str = "mine", extra: str = ""
) -> Model:
    folder = root / name
    folder.mkdir()
    (folder / "model.toml").write_text(TABLE.format(name=name, function=function, extra=extra))
    (folder / f"{name}.py").write_text(code)
    return load_model(folder)


def call(
    model: Model, root: Path, given: Any = None, *, timeout_s: float = 30, job_id: str = "job-1"
) -> EngineCall:
    scratch = root / f"out-{job_id}"
    scratch.mkdir(exist_ok=True)
    inputs: dict[str, Path | Inline] = {"given": Inline(given)}
    return EngineCall(job_id, model, inputs, {}, scratch, timeout_s)


def made(result: Any) -> Any:
    return json.loads(result.outputs["made"].read())


async def test_a_plain_function_runs(host: EngineHost, tmp_path: Path) -> None:
    model = write_model(tmp_path, "def work(given):\n    print('hello')\n    return {'twice': given * 2}\n")
    first = await host.run(call(model, tmp_path, 21))
    second = await host.run(call(model, tmp_path, 4))
    assert made(second) == {"twice": 8}
    assert first.timings.keys() == {"prepare_s", "infer_s", "finish_s", "load_s"}
    assert second.timings.keys() == {"prepare_s", "infer_s", "finish_s"}
    assert first.log_tail == "hello\n"
    assert host.starts == 1


CLASS = """
class Work:
    def load(self, model):
        self.factor = model.options["factor"]
        self.device = model.device
    def warm_up(self):
        self.warm = True
    def prepare(self, given, job):
        return (given, job.id)
    def infer(self, items):
        return [given * self.factor for given, _ in items]
    def finish(self, item, raw):
        return [raw, item[1], self.device, self.warm]
"""


async def test_a_class_runs_its_steps(host: EngineHost, tmp_path: Path) -> None:
    model = write_model(tmp_path, CLASS, function="Work", extra="[options]\nfactor = 3")
    assert (await host.load(model)).load_s > 0
    result = await host.run(call(model, tmp_path, 5))
    assert made(result) == [15, "job-1", "cpu", True]
    assert "load_s" not in result.timings


async def test_two_models_may_have_modules_of_one_name(host: EngineHost, tmp_path: Path) -> None:
    code = "def work(given):\n    import side\n    return side.WHO\n"
    models = [write_model(tmp_path, code, name=name) for name in ("left", "right")]
    for model in models:
        (model.folder / "side.py").write_text(f"WHO = {model.name!r}\n")
    for model in [*models, *models]:
        assert made(await host.run(call(model, tmp_path))) == model.name


async def test_what_a_function_raises_is_told_with_its_own_frames(host: EngineHost, tmp_path: Path) -> None:
    code = "def work(given):\n    print('so far')\n    raise KeyError('no such thing')\n"
    attempt = call(write_model(tmp_path, code), tmp_path)
    with pytest.raises(AlgorithmError, match="no such thing") as caught:
        await host.run(attempt)
    assert caught.value.exception == "KeyError"
    assert "mine.py" in caught.value.traceback
    assert "gpu_worker" not in caught.value.traceback
    assert attempt.log.text() == "so far\n"


@pytest.mark.parametrize("way", ["import sys; sys.exit(3)", "raise KeyboardInterrupt"])
async def test_leaving_by_exception_costs_the_job_only(host: EngineHost, tmp_path: Path, way: str) -> None:
    model = write_model(tmp_path, f"def work(given):\n    if given: {way}\n    return 1\n")
    with pytest.raises(AlgorithmError):
        await host.run(call(model, tmp_path, given=True))
    assert made(await host.run(call(model, tmp_path, given=False))) == 1
    assert host.starts == 1


UNSAYABLE = """
class Silent(Exception):
    def __str__(self): raise SystemExit("no words")
    __repr__ = __str__
class Noted(Silent):
    @property
    def __notes__(self): raise ValueError("no notes")
def work(given):
    if given: raise {"Silent": Silent, "Noted": Noted}[given]
    return "fine"
"""


@pytest.mark.parametrize("name", ["Silent", "Noted"])
async def test_an_exception_that_can_not_be_told_is_an_algorithm_s_error(
    host: EngineHost, tmp_path: Path, name: str
) -> None:
    model = write_model(tmp_path, UNSAYABLE)
    with pytest.raises(AlgorithmError, match=name) as caught:
        await host.run(call(model, tmp_path, name))
    assert caught.value.exception == name
    assert "mine.py" in caught.value.traceback
    assert made(await host.run(call(model, tmp_path))) == "fine"
    assert host.starts == 1


async def test_an_algorithm_can_ask_for_another_try(host: EngineHost, tmp_path: Path) -> None:
    code = "from gpu_worker.handlers import Retry\ndef work(given):\n    raise Retry('not yet', after_s=7)\n"
    with pytest.raises(AlgorithmRetry, match="not yet") as caught:
        await host.run(call(write_model(tmp_path, code), tmp_path))
    assert caught.value.after_s == 7


async def test_an_algorithm_can_refuse_its_input(host: EngineHost, tmp_path: Path) -> None:
    code = "from gpu_worker.handlers import BadInput\ndef work(given):\n    raise BadInput('too blue')\n"
    with pytest.raises(BadInput, match="too blue"):
        await host.run(call(write_model(tmp_path, code), tmp_path))


UNSTORABLE = """
from PIL import Image
from gpu_worker.handlers import BadInput, Retry
def work(given):
    if given == "fine": return Image.new("L", (1, 1))
    print("x \\ud800\\0")
    exec(given)
class Odd(Image.Image):
    width = "x \\ud800\\0"
def odd():
    image = Image.new("L", (1, 1))
    image.__class__ = Odd
    return image
"""


@pytest.mark.parametrize(
    ("raised", "kind", "said"),
    [
        ("ValueError('x \\ud800')", AlgorithmError, "^x [?]$"),
        ("ValueError('x \\0')", AlgorithmError, "^x \ufffd$"),
        ("BadInput('x \\ud800')", BadInput, "^x [?]$"),
        ("Retry(after_s='30')", AlgorithmRetry, "another try"),
        ("Retry(after_s=1e15)", AlgorithmRetry, "another try"),
        ("Retry(after_s=10**400)", AlgorithmRetry, "another try"),
        ("Retry(after_s=float('nan'))", AlgorithmRetry, "another try"),
        ("Retry(after_s=-1)", AlgorithmRetry, "another try"),
    ],
)
async def test_what_no_store_can_hold_costs_its_own_job_only(
    host: EngineHost, tmp_path: Path, raised: str, kind: type[LeveretError], said: str
) -> None:
    # Given an algorithm that fails with what neither UTF-8 nor PostgreSQL nor a timer takes
    model = write_making(tmp_path, UNSTORABLE)
    attempt = call(model, tmp_path, f"raise {raised}")
    # When it runs, then it is its own error, fit to be stored
    with pytest.raises(kind, match=said) as caught:
        await host.run(attempt)
    told = (str(caught.value), attempt.log.text(), getattr(caught.value, "exception", ""))
    assert "\0" not in "".join(told).encode().decode()
    assert getattr(caught.value, "after_s", None) is None
    # And the engine lives on
    assert (await host.run(call(model, tmp_path, "fine"))).outputs
    assert host.starts == 1


async def test_metadata_is_made_fit_to_be_stored(host: EngineHost, tmp_path: Path) -> None:
    model = write_making(tmp_path, UNSTORABLE.replace("exec(given)", "return odd()"))
    result = await host.run(call(model, tmp_path))
    assert result.outputs["made"].metadata == {"width": "x ?\ufffd", "height": 1}


async def test_metadata_that_is_no_json_is_the_model_s_fault(host: EngineHost, tmp_path: Path) -> None:
    code = UNSTORABLE.replace("exec(given)", "return odd()").replace('width = "x', 'width = {1}, "x')
    model = write_making(tmp_path, code)
    with pytest.raises(InvalidOutput, match="made"):
        await host.run(call(model, tmp_path))
    assert (await host.run(call(model, tmp_path, "fine"))).outputs
    assert host.starts == 1


async def test_text_that_is_no_utf8_is_the_model_s_fault(host: EngineHost, tmp_path: Path) -> None:
    model = write_making(tmp_path, "def work(given):\n    return 'x \\ud800'\n", kind="text")
    with pytest.raises(InvalidOutput, match=r"outputs\.made: .*UTF-8"):
        await host.run(call(model, tmp_path))


def write_making(root: Path, code: str, *, kind: str = "image") -> Model:
    source = write_model(root, code).folder / "model.toml"
    head, made, _ = source.read_text().partition("[outputs.made]")
    source.write_text(f'{head}{made}\nkind = "{kind}"\n')
    return load_model(source.parent)


@pytest.mark.parametrize("value", ["object()", "float('nan')", "{1, 2}"])
async def test_an_output_that_was_not_declared_is_refused(
    host: EngineHost, tmp_path: Path, value: str
) -> None:
    with pytest.raises(InvalidOutput, match=r"outputs\.made"):
        await host.run(call(write_model(tmp_path, f"def work(given):\n    return {value}\n"), tmp_path))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def other(given): ...", "has no 'work'"),
        ("def work(): ...", "has no parameter 'given'"),
        ("def work(given, more): ...", "needs 'more'"),
        ("import no_such_thing\ndef work(given): ...", "No module named 'no_such_thing'"),
        ("work = 3", "neither a function nor a class"),
        ("class work: ...", "has no method infer"),
        ("def work(given:\n", "was never closed"),
    ],
)
async def test_a_model_that_can_not_load_says_why(
    host: EngineHost, tmp_path: Path, code: str, said: str
) -> None:
    with pytest.raises(AlgorithmError, match=said):
        await host.run(call(write_model(tmp_path, code), tmp_path))


DEATHS = [
    ("os._exit(3)", "ended with code 3"),
    ("import ctypes; ctypes.string_at(0)", "killed by SIGSEGV.*Segmentation fault"),
    ("os.kill(os.getpid(), 9)", "killed by SIGKILL"),
    ("os.closerange(3, 64)", "ended with code|killed by SIGKILL"),  # by which thread notices it first
]


@pytest.mark.parametrize(("way", "said"), DEATHS)
async def test_a_dead_engine_costs_its_own_job_only(
    host: EngineHost, tmp_path: Path, way: str, said: str
) -> None:
    # Given an algorithm that takes its process down
    model = write_model(tmp_path, f"import os\ndef work(given):\n    if given: {way}\n    return 'fine'\n")
    attempt = call(model, tmp_path, given=True)
    # When it runs, then its job alone fails, with how it ended
    with pytest.raises(EngineDied, match=f"(?s){said}"):
        await host.run(attempt)
    # And the next job finds a fresh engine
    assert made(await host.run(call(model, tmp_path, given=False))) == "fine"
    assert host.starts == 2


FORGES = """
import os, socket, struct, time
def work(given):
    body = given.encode()
    frame = struct.pack(">I", len(body)) + body if body else b"\\xff" * 64
    for fd in map(int, os.listdir('/proc/self/fd')):
        try:
            socket.socket(fileno=os.dup(fd)).sendall(frame)
        except OSError:
            pass
    time.sleep(60)
"""
NO_FRAME, NO_ANSWER = "sent what is no frame", "something that is no answer"
FORGED = {
    "no length": ("", NO_FRAME),
    "an endless nest": ("[" * 100_000, NO_FRAME),
    "a value no float holds": (f'{{"op":"progress","id":2,"value":1{"0" * 400}}}', NO_FRAME),
    "an id of another kind": ('{"op":"progress","id":[],"value":1}', NO_FRAME),
    "a stage that there is not": ('{"op":"at","stage":"pause","ids":[2]}', NO_FRAME),
    "numbers of no ask": ('{"op":"at","stage":"device","ids":7}', NO_FRAME),
    "a failure without words": ('{"op":"failed","id":2,"kind":"bad_input"}', NO_ANSWER),
    "a failure of no kind": ('{"op":"failed","id":2,"kind":[],"message":""}', NO_ANSWER),
    "an endless time": (
        '{"op":"failed","id":2,"kind":"retry","message":"","timings":{"prepare_s":NaN}}',
        NO_ANSWER,
    ),
}


@pytest.mark.parametrize(("frame", "said"), FORGED.values(), ids=FORGED)
async def test_a_forged_frame_ends_the_engine(
    host: EngineHost, tmp_path: Path, frame: str, said: str
) -> None:
    with pytest.raises(EngineDied, match=said):
        await host.run(call(write_model(tmp_path, FORGES), tmp_path, frame, timeout_s=8))


FAILS = """
class Work:
    def prepare(self, given):
        if given == "prepare": raise ValueError("no")
        return given
    def infer(self, items):
        if items == ["infer"]: raise ValueError("no")
        return items
    def finish(self, item, raw):
        raise ValueError("no")
"""


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("prepare", {"prepare_s"}),
        ("infer", {"prepare_s", "infer_s", "batch_size"}),
        ("finish", {"prepare_s", "infer_s", "finish_s", "batch_size"}),
    ],
)
async def test_a_failed_run_tells_what_its_steps_took(
    host: EngineHost, tmp_path: Path, step: str, told: set[str]
) -> None:
    attempt = call(write_model(tmp_path, FAILS, function="Work"), tmp_path, step)
    with pytest.raises(AlgorithmError):
        await host.run(attempt)
    assert attempt.spent.keys() == told


async def test_the_time_limit_kills_a_hang(host: EngineHost, tmp_path: Path) -> None:
    model = write_model(tmp_path, "def work(given):\n    while given: pass\n    return 'fine'\n")
    with pytest.raises(JobTimedOut, match=r"longer than 0\.5 s"):
        await host.run(call(model, tmp_path, given=True, timeout_s=0.5))
    assert made(await host.run(call(model, tmp_path, given=False))) == "fine"


async def test_children_of_an_algorithm_die_with_it(host: EngineHost, tmp_path: Path) -> None:
    code = (
        "import subprocess, time\ndef work(given):\n"
        "    child = subprocess.Popen(['sleep', '600'])\n    print(child.pid)\n    time.sleep(600)\n"
    )
    attempt = call(write_model(tmp_path, code), tmp_path, timeout_s=2)
    with pytest.raises(JobTimedOut):
        await host.run(attempt)
    await host.stop()
    await _gone(int(attempt.log.text()))


LEAVES = """
import os, subprocess, time
def work(given):
    plain = subprocess.Popen(['sleep', '987655'])
    apart = subprocess.Popen(['setsid', 'sleep', '987655'])
    command = ['setsid', 'sh', '-c', 'sleep 987655 >/dev/null 2>&1 & echo $!']
    daemon = subprocess.run(command, stdout=subprocess.PIPE)
    print(plain.pid, apart.pid, int(daemon.stdout), flush=True)
    if given == 'die': os._exit(3)
    if given == 'hang': time.sleep(600)
    return 1
"""


@pytest.mark.parametrize("way", ["hang", "die", "stop"])
async def test_nothing_outlives_its_engine(host: EngineHost, tmp_path: Path, way: str) -> None:
    # Given an algorithm that starts a child, one in a session of its own, and a daemon
    attempt = call(write_model(tmp_path, LEAVES), tmp_path, way, timeout_s=2)
    # When its engine ends: killed, by itself, or asked to
    with contextlib.suppress(JobTimedOut, EngineDied):
        await host.run(attempt)
    await host.stop()
    # Then all of them are gone with it, at once
    assert [pid for pid in map(int, attempt.log.text().split()) if _lives(pid)] == []
    assert len(attempt.log.text().split()) == 3


async def test_a_killed_keeper_takes_the_engine_and_its_group_along(host: EngineHost, tmp_path: Path) -> None:
    attempt = call(write_model(tmp_path, LEAVES), tmp_path, "go")
    await host.run(attempt)
    assert host.pid is not None
    os.kill(host.pid, signal.SIGKILL)
    plain, _, _ = map(int, attempt.log.text().split())
    await _gone(plain)
    for pid in map(int, attempt.log.text().split()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)  # who left the group is out of reach without a keeper


async def test_a_stranger_s_orphans_are_left_alone(host: EngineHost, tmp_path: Path) -> None:
    stranger = await asyncio.create_subprocess_exec("sleep", "600")
    await host.run(call(write_model(tmp_path, "def work(given):\n    return 1\n"), tmp_path))
    await host.stop()
    assert _lives(stranger.pid)
    stranger.kill()
    await stranger.wait()


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return state.rpartition(")")[2].split()[0] != "Z"


async def _gone(pid: int) -> None:
    for _ in range(500):
        if not _lives(pid):
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"process {pid} lives on")


async def test_a_flood_of_output_is_bounded_and_does_not_block(host: EngineHost, tmp_path: Path) -> None:
    code = "def work(given):\n    for n in range(300): print('x' * 99_999)\n    print('the end\\0')\n"
    result = await host.run(call(write_model(tmp_path, code), tmp_path))
    assert result.log_tail.endswith("the end\ufffd\n")
    assert "bytes before this were dropped" in result.log_tail
    assert len(result.log_tail) < 66_000


async def test_output_of_one_job_is_not_another_s(host: EngineHost, tmp_path: Path) -> None:
    model = write_model(tmp_path, "def work(given):\n    print(given)\n    return 1\n")
    for word in ("one", "two", "three"):
        assert (await host.run(call(model, tmp_path, word))).log_tail == f"{word}\n"


async def test_no_credential_reaches_an_algorithm(
    host: EngineHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = [
        "LEVERET_POSTGRES_DSN",
        "AWS_SECRET_ACCESS_KEY",
        "DATABASE_URL",
        "TORCH_API_TOKEN",
        "PYTHONSTARTUP",
    ]
    for name in secrets:
        monkeypatch.setenv(name, "s3cret")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    code = "import os\ndef work(given):\n    return dict(os.environ)\n"
    seen = made(await host.run(call(write_model(tmp_path, code), tmp_path)))
    assert "s3cret" not in seen.values()
    assert seen["OMP_NUM_THREADS"] == "1"
    assert seen["CUDA_VISIBLE_DEVICES"] == ""


async def test_an_algorithm_sees_nothing_of_the_worker(host: EngineHost, tmp_path: Path) -> None:
    code = """
import importlib, sys
def work(given):
    found = []
    for name in ('gpu_worker.worker', 'gpu_worker.wiring', 'gpu_worker.settings'):
        try:
            importlib.import_module(name)
            found.append(name)
        except ModuleNotFoundError:
            pass
    return found + [name for name in sys.modules if name.split('.')[0] in ('pydantic', 'asyncpg', 'shared')]
"""
    assert made(await host.run(call(write_model(tmp_path, code), tmp_path))) == []


@contextlib.asynccontextmanager
async def running(root: Path, **settings: Any) -> AsyncIterator[EngineHost]:
    common = {"interpreter": None, "device": Device("cpu"), "scratch": root / "scratch"}
    host = EngineHost(**common | settings)
    try:
        yield host
    finally:
        await host.stop()


async def test_another_interpreter_does_not_see_the_worker_s_packages(tmp_path: Path) -> None:
    if sys.prefix == sys.base_prefix:
        pytest.skip("the tests' own interpreter is no virtual environment")
    bare = f"{sys.base_prefix}/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    model = write_model(tmp_path, "import sys\ndef work(given):\n    return [sys.prefix, sys.path]\n")
    async with running(tmp_path, interpreter=bare) as host:
        prefix, path = made(await host.run(call(model, tmp_path)))
    assert prefix == sys.base_prefix
    assert not [entry for entry in path if entry.startswith(sys.prefix)]


async def test_a_stopped_engine_fails_the_job_it_still_had(tmp_path: Path) -> None:
    async with running(tmp_path) as host:
        task = await begun(host, call(write_model(tmp_path, HANG), tmp_path))
        await host.stop(deadline_s=0)
        with pytest.raises(EngineDied, match="stopped with its worker"):
            await task


async def test_a_missing_interpreter_is_named(tmp_path: Path) -> None:
    async with running(tmp_path, interpreter="/no/such/python") as host:
        with pytest.raises(ModelUnavailable, match="/no/such/python"):
            await host.start()


async def test_an_interpreter_that_is_no_python_is_reported(tmp_path: Path) -> None:
    async with running(tmp_path, interpreter=shutil.which("true")) as host:
        with pytest.raises(EngineDied, match="ended with code 0"):
            await host.start()


async def test_an_engine_that_never_comes_up_is_given_up(tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 600\n")
    slow.chmod(0o755)
    async with running(tmp_path, interpreter=str(slow), limits=Limits(start_s=0.2)) as host:
        with pytest.raises(EngineDied, match="did not come up"):
            await host.start()


async def test_progress_is_reported(host: EngineHost, tmp_path: Path) -> None:
    code = "def work(given, job):\n    job.progress(0.25)\n    job.progress(7)\n    return 1\n"
    seen: list[float] = []
    await host.run(call(write_model(tmp_path, code), tmp_path), on_progress=seen.append)
    assert seen == [0.25, 1.0]


HANG = """
import time
def work(given, job):
    job.progress(0.5)
    while not job.cancelled: time.sleep(0.01)
    return 1
"""


async def begun(host: EngineHost, attempt: EngineCall) -> asyncio.Task[Any]:
    """Start a run and return once the algorithm is inside."""
    inside = asyncio.Event()
    task = asyncio.create_task(host.run(attempt, on_progress=lambda _: inside.set()))
    await asyncio.wait([task, waiting := asyncio.create_task(inside.wait())], return_when="FIRST_COMPLETED")
    waiting.cancel()
    return task


async def test_cancel_kills_python_code(host: EngineHost, tmp_path: Path) -> None:
    task = await begun(host, call(write_model(tmp_path, HANG), tmp_path))
    assert await host.cancel("job-1")
    with pytest.raises(JobCanceled):
        await task
    assert not host.alive
    assert not await host.cancel("job-1")


async def test_python_code_may_be_given_a_grace(host: EngineHost, tmp_path: Path) -> None:
    model = write_model(
        tmp_path, HANG.replace("return 1", "raise SystemExit"), extra="[options]\ncancel_grace_s = 30"
    )
    task = await begun(host, call(model, tmp_path))
    await host.cancel("job-1")
    with pytest.raises(JobCanceled):
        await task
    assert host.alive


async def test_a_job_that_waits_for_its_turn_can_be_canceled(host: EngineHost, tmp_path: Path) -> None:
    model = write_model(tmp_path, HANG)
    task = await begun(host, call(model, tmp_path))
    waiting = asyncio.create_task(host.run(call(model, tmp_path, job_id="job-2")))
    await asyncio.sleep(0)
    await host.cancel("job-2")
    with pytest.raises(JobCanceled):
        await waiting
    assert host.alive
    await host.cancel("job-1")
    with pytest.raises(JobCanceled):
        await task


async def test_leaving_a_run_kills_it(host: EngineHost, tmp_path: Path) -> None:
    model = write_model(tmp_path, HANG.replace("while", "while given and"))
    task = await begun(host, call(model, tmp_path, given=True))
    pid = host.pid
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert made(await host.run(call(model, tmp_path, given=False))) == 1
    assert host.pid != pid


async def test_an_engine_dies_with_its_worker_and_all_that_it_started(tmp_path: Path) -> None:
    model = write_model(tmp_path, LEAVES)
    program = f"""
import asyncio, pathlib, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from gpu_worker.engine.calls import EngineCall, Inline
from gpu_worker.engine.host import EngineHost
from gpu_worker.engine.launch import Device
from shared.catalog import load_model
async def main():
    here = pathlib.Path({str(tmp_path)!r})
    host = EngineHost(interpreter=None, device=Device("cpu"), scratch=here)
    call = EngineCall("1", load_model({str(model.folder)!r}), {{"given": Inline("go")}}, {{}}, here, 30)
    await host.run(call)
    print(host.pid, call.log.text(), flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
    )
    assert worker.stdout is not None
    started = [int(word) for word in (await worker.stdout.readline()).split()]
    assert len(started) == 4
    worker.kill()
    await worker.wait()
    for pid in started:
        await _gone(pid)


async def test_a_changed_model_file_is_refused(host: EngineHost, tmp_path: Path) -> None:
    catalog = tmp_path / "catalog"
    catalog.mkdir()
    folder = write_model(catalog, "def work(given):\n    return 1\n").folder
    write_index(catalog)
    (folder / "mine.py").write_text("def work(given):\n    return 'evil'\n")
    with pytest.raises(ModelUnavailable, match=r"mine\.py: its sha256 is"):
        await host.run(call(load_catalog(catalog).models[0], tmp_path))


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="there is a GPU here")
async def test_a_missing_gpu_is_an_error(tmp_path: Path) -> None:
    async with running(tmp_path, device=Device("cuda")) as host:
        with pytest.raises(DeviceError, match="device cuda"):
            await host.run(call(write_model(tmp_path, "def work(given):\n    return 1\n"), tmp_path))


async def test_stop_leaves_nothing_behind(tmp_path: Path) -> None:
    host = EngineHost(interpreter=None, device=Device("cpu"), scratch=tmp_path / "scratch")
    await host.start()
    pid = host.pid
    assert pid is not None
    await host.stop()
    await _gone(pid)
    assert list((tmp_path / "scratch").iterdir()) == []


THUMBNAIL = Path(__file__).parents[2] / "examples" / "models" / "thumbnail"


def image_call(root: Path, data: bytes, params: dict[str, Any] | None = None) -> EngineCall:
    source, scratch = root / "input", root / "out"
    source.write_bytes(data)
    scratch.mkdir(exist_ok=True)
    return EngineCall("job-1", load_model(THUMBNAIL), {"image": source}, params or {}, scratch, 30)


def encoded(image: Image.Image, root: Path, **options: Any) -> bytes:
    path = root / "encoded"
    image.save(path, **options)
    return path.read_bytes()


async def test_an_image_goes_through_upright(host: EngineHost, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    data = encoded(Image.new("RGB", (400, 200), "red"), tmp_path, format="JPEG", exif=exif)
    output = (await host.run(image_call(tmp_path, data, {"size": 100}))).outputs["thumbnail"]
    assert (output.content_type, output.metadata) == ("image/png", {"width": 50, "height": 100})
    with Image.open(BytesIO(output.read())) as image:
        assert image.size == (50, 100)


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0"))
        + chunk(b"IEND", b"")
    )


async def test_hostile_images_are_refused(host: EngineHost, tmp_path: Path) -> None:
    good = encoded(Image.effect_noise((200, 200), 50), tmp_path, format="PNG")
    bad = {
        "truncated": (good[: len(good) // 2], "the image is damaged"),
        "one byte": (b"x", "not an image"),
        "empty": (b"", "not an image"),
        "40,000 x 40,000": (png_header(40_000, 40_000), "exceeds limit|at most 50000000"),
        "9,000 x 9,000": (png_header(9_000, 9_000), "9000x9000 pixels; at most 50000000"),
        "a page": (b"<html>" * 100, "not an image"),
        "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", "not an image"),
    }
    for data, said in bad.values():
        with pytest.raises(BadInput, match=rf"inputs\.image: .*({said})"):
            await host.run(image_call(tmp_path, data))
    assert (await host.run(image_call(tmp_path, good))).outputs
    assert host.starts == 1
