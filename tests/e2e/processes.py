"""Worker processes under test, and the gate that holds their jobs."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.stack import ROOT, process_environment

PYTHON = (sys.executable, "-m")
READY_S = 60
WAIT_S = 60


async def until(what: Callable[[], Any], *, why: str) -> Any:
    """What the call answers, as soon as that is true; other processes make it so.

    Raises:
        AssertionError: It stays false for a minute.
    """
    deadline = time.monotonic() + WAIT_S
    while not (answer := what()):
        assert time.monotonic() < deadline, f"waited {WAIT_S} s in vain: {why}"
        await asyncio.sleep(0.02)
    return answer


@dataclass(frozen=True, slots=True)
class LoggedProcess:
    """A process of ours, and what it logs."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        """As the kernel does when memory runs out: no goodbye to anybody."""
        self.process.kill()
        self.process.wait()

    def drain(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    async def exit_code(self) -> int:
        await until(lambda: self.process.poll() is not None, why="the process ends")
        return int(self.process.returncode)

    def logged(self, event: str, **fields: Any) -> dict[str, Any] | None:
        """Its first log line of this event with these fields."""
        for line in self.log.read_text(errors="replace").splitlines():
            if line.startswith("{") and f'"{event}"' in line:
                told = json.loads(line)
                if told["event"] == event and fields.items() <= told.items():
                    return dict(told)
        return None

    async def until_logged(self, event: str, **fields: Any) -> dict[str, Any]:
        found = await until(
            lambda: self.logged(event, **fields), why=f"{self.log.stem} logs {event} {fields}"
        )
        return dict(found)


class WorkerProcess(LoggedProcess):
    """A `python -m gpu_worker`."""


@dataclass(slots=True)
class House:
    """What the processes of one stack have in common.

    Attributes:
        env: Where the servers are.
        catalog: The models, for gateway and workers.
        folder: For logs.
        logs: Of every process that was started here, by its name.
    """

    env: Mapping[str, str]
    catalog: Path
    folder: Path
    logs: dict[str, Path] = field(default_factory=dict)

    @contextmanager
    def worker(
        self,
        queue: str,
        *,
        ready: bool = True,
        env: Mapping[str, str] | None = None,
        command: Sequence[str] = (*PYTHON, "gpu_worker"),
        **own: str,
    ) -> Iterator[WorkerProcess]:
        """A worker of this queue that is ready; ended with the block where it still runs.

        Args:
            queue: Of the catalog.
            ready: False: only started; for a caller whose own event loop the worker needs to get ready.
            env: Other servers than the stack's.
            command: How it is started, where that is not as usual.
            own: `LEVERET_WORKER_` variables.
        """
        name = f"worker-{queue}-{len(self.logs)}"
        settings = {
            **(env or {}),
            "LEVERET_WORKER_QUEUE": queue,
            "LEVERET_WORKER_ID": name,
            "LEVERET_WORKER_SCRATCH": str(self.folder / "scratch"),
            **{f"LEVERET_WORKER_{key.upper()}": value for key, value in own.items()},
        }
        with self._running(command, name, settings) as process:
            started = WorkerProcess(process, self.logs[name])
            if ready:
                _await_ready(started)
            yield started

    @contextmanager
    def scaler(self, **settings: str) -> Iterator[LoggedProcess]:
        """A scaler; its workers leave with it."""
        name = f"scaler-{len(self.logs)}"
        with self._running((*PYTHON, "scaler"), name, settings) as process:
            yield LoggedProcess(process, self.logs[name])

    @contextmanager
    def _running(
        self, command: Sequence[str], name: str, settings: Mapping[str, str]
    ) -> Iterator[subprocess.Popen[bytes]]:
        log = self.logs[name] = self.folder / f"{name}.log"
        env = {**self.env, "LEVERET_CATALOG_PATH": str(self.catalog), **settings}
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=process_environment(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            yield process
        finally:
            _end(process)

    @contextmanager
    def workers(self, queue: str, number: int) -> Iterator[list[WorkerProcess]]:
        """Several workers of one queue, started at once."""
        with ExitStack() as stack:
            started = [stack.enter_context(self.worker(queue, ready=False)) for _ in range(number)]
            for worker in started:
                _await_ready(worker)
            yield started


def _await_ready(worker: WorkerProcess) -> None:
    deadline = time.monotonic() + READY_S
    while worker.logged("worker.ready") is None:
        alive = worker.process.poll() is None and time.monotonic() < deadline
        assert alive, f"the worker did not get ready:\n{worker.log.read_text()}"
        time.sleep(0.05)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@dataclass(frozen=True, slots=True)
class Gate:
    """Holds the jobs of the model `gated` that name it, and knows which processes ran them."""

    path: Path

    @property
    def params(self) -> dict[str, str]:
        return {"gate": str(self.path)}

    def open(self) -> None:
        self.path.touch()

    def runs(self) -> list[int]:
        """The pids of the engines that began such a job, in order."""
        file = Path(f"{self.path}.runs")
        return [int(line) for line in file.read_text().splitlines()] if file.exists() else []

    async def until_runs(self, count: int) -> int:
        """Wait for this many begun runs; the latest one's pid."""
        await until(lambda: len(self.runs()) >= count, why=f"{count} runs began at {self.path.name}")
        return self.runs()[-1]
