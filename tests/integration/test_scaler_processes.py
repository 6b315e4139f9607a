"""The process fleet with real, tiny child processes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from scaler.fleet import process as module
from scaler.fleet.book import Book
from scaler.fleet.process import ProcessFleet
from scaler.fleet.system import Process, spawn
from scaler.snapshot import Machine
from shared.errors import Unavailable

pytestmark = pytest.mark.anyio

OBEDIENT = """
import os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: (print("draining", flush=True), sys.exit(0)))
print("ready", os.environ["LEVERET_WORKER_QUEUE"], os.environ["LEVERET_WORKER_ID"], flush=True)
while True: signal.pause()
"""
STUBBORN = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
while True: signal.pause()
"""
BROKEN = "import sys; print('no model here', flush=True); sys.exit(3)"


def fleet_of(folder: Path, code: str = OBEDIENT) -> ProcessFleet:
    return ProcessFleet(
        "images",
        command=[sys.executable, "-c", code],
        environment=dict(os.environ),
        log_dir=folder / "logs",
        state_file=folder / "images.json",
    )


@asynccontextmanager
async def started(folder: Path, code: str = OBEDIENT) -> AsyncIterator[ProcessFleet]:
    fleet = fleet_of(folder, code)
    try:
        yield fleet
    finally:
        await fleet.close(within_s=0.0)


async def until(fleet: ProcessFleet, holds: Callable[[Sequence[Machine]], bool]) -> Sequence[Machine]:
    async with asyncio.timeout(20):
        while not holds(machines := await fleet.machines()):
            await asyncio.sleep(0.01)
    return machines


def log_of(folder: Path, name: str) -> str:
    return (folder / "logs" / f"worker-{name}.log").read_text()


def last_line_of(command: list[str]) -> str:
    output = subprocess.check_output(command, text=True)
    return output.splitlines()[-1]


async def says(folder: Path, name: str, words: str) -> None:
    async with asyncio.timeout(20):
        while words not in log_of(folder, name):
            await asyncio.sleep(0.01)


async def test_a_worker_is_started_with_its_own_name_log_and_session(tmp_path: Path) -> None:
    async with started(tmp_path) as fleet:
        [name] = await fleet.launch(1, token="a" * 64)
        await says(tmp_path, name, f"ready images {name}")

        [machine] = await fleet.machines()
        assert (machine.id, machine.alive) == (name, True)
        pid = fleet._alive[name].pid
        assert os.getsid(pid) == pid


async def test_the_same_token_starts_a_worker_once(tmp_path: Path) -> None:
    async with started(tmp_path) as fleet, started(tmp_path) as other:
        first = await fleet.launch(2, token="a" * 64)
        second = await other.launch(2, token="a" * 64)

        assert first == second
        assert len(await fleet.machines()) == len(await other.machines()) == 2
        assert {process.pid for process in fleet._alive.values()} == {
            process.pid for process in other._alive.values()
        }


async def test_a_worker_that_dies_leaves_its_last_words(tmp_path: Path) -> None:
    async with started(tmp_path, BROKEN) as fleet:
        [name] = await fleet.launch(1, token="b" * 64)
        [machine] = await until(fleet, lambda machines: not machines[0].alive)

    assert machine.id == name
    assert machine.age_s < 10
    assert machine.exit.startswith("exit code 3 after ")
    assert machine.exit.endswith("last words: no model here")


async def test_no_zombie_is_left(tmp_path: Path) -> None:
    async with started(tmp_path, BROKEN) as fleet:
        [name] = await fleet.launch(1, token="b" * 64)
        pid = fleet._alive[name].pid
        await until(fleet, lambda machines: not machines[0].alive)

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_termination_asks_first_and_insists_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with started(tmp_path, STUBBORN) as fleet:
        [name] = await fleet.launch(1, token="c" * 64)
        await says(tmp_path, name, "ready")

        await fleet.terminate([name, "somebody-else"])
        assert (await fleet.machines())[0].alive

        monkeypatch.setattr(module, "KILL_AFTER_S", -1.0)
        await fleet.terminate([name])
        [machine] = await until(fleet, lambda machines: not machines[0].alive)
    assert f"exit code {-signal.SIGKILL}" in machine.exit


async def test_closing_lets_workers_drain(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path)
    names = await fleet.launch(2, token="d" * 64)
    for name in names:
        await says(tmp_path, name, "ready")

    await fleet.close(within_s=20)

    assert all("draining" in log_of(tmp_path, name) for name in names)
    assert all(machine.exit.startswith("exit code 0") for machine in await fleet.machines())


async def test_closing_ends_even_the_stubborn(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, STUBBORN)
    [name] = await fleet.launch(1, token="e" * 64)
    await says(tmp_path, name, "ready")

    await fleet.close(within_s=0.0)

    assert not any(machine.alive for machine in await fleet.machines())


async def test_a_restarted_scaler_knows_its_workers_again(tmp_path: Path) -> None:
    """The workers outlive the process that started them, and its successor can end them."""
    script = (
        "import asyncio, sys; from pathlib import Path\n"
        "from tests.integration.test_scaler_processes import fleet_of\n"
        "print(asyncio.run(fleet_of(Path(sys.argv[1])).launch(1, token='f' * 64))[0])"
    )
    name = await asyncio.to_thread(last_line_of, [sys.executable, "-c", script, str(tmp_path)])
    await says(tmp_path, name, "ready")

    async with started(tmp_path) as successor:
        [machine] = await successor.machines()
        assert (machine.id, machine.alive) == (name, True)
        await successor.terminate([name])
        [machine] = await until(successor, lambda machines: not machines[0].alive)
    assert "draining" in log_of(tmp_path, name)


async def test_a_restarted_scaler_still_knows_which_workers_ended(tmp_path: Path) -> None:
    async with started(tmp_path, BROKEN) as fleet:
        [name] = await fleet.launch(1, token="e" * 64)
        await until(fleet, lambda machines: not machines[0].alive)

    [machine] = await fleet_of(tmp_path).machines()
    assert (machine.id, machine.alive, machine.inherited) == (name, False, True)


async def test_a_stranger_with_the_same_number_is_never_touched(tmp_path: Path) -> None:
    stranger = spawn(
        [sys.executable, "-c", "import signal\nprint('up', flush=True)\nwhile True: signal.pause()"],
        os.environ,
        tmp_path / "stranger.log",
    )
    try:
        with Book(tmp_path / "images.json").locked():
            Book(tmp_path / "images.json").write(
                {"images-old-0": Process(pid=stranger.pid, started=stranger.started - 1)}
            )
        fleet = fleet_of(tmp_path)
        [machine] = await fleet.machines()
        await fleet.terminate(["images-old-0"])
        await fleet.close(within_s=0.0)

        assert not machine.alive
        assert stranger.alive
        assert not Process(pid=stranger.pid, started=stranger.started - 1).send(signal.SIGKILL)
    finally:
        stranger.send(signal.SIGKILL)
        await asyncio.to_thread(os.waitpid, stranger.pid, 0)


async def test_a_damaged_book_or_another_boot_is_an_empty_one(tmp_path: Path) -> None:
    file = tmp_path / "images.json"
    for content in ("", "[]", '{"boot": "another", "workers": {"a": {"pid": 1, "started": 1}}}'):
        file.write_text(content)
        assert Book(file).read() == {}


async def test_a_program_that_is_missing_is_said(tmp_path: Path) -> None:
    fleet = ProcessFleet(
        "images", command=["/no/such"], environment={}, log_dir=tmp_path, state_file=tmp_path / "images.json"
    )
    with pytest.raises(Unavailable, match="No such file"):
        await fleet.launch(1, token="a" * 64)
