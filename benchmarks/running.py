"""Processes under measurement: started in the private servers' folder, so that nothing outlives the run."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.local import processes
from deploy.local.failure import NotReadyError
from deploy.local.processes import Process

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

ROOT = Path(__file__).parents[1]
READY_S = 60
STOP_S = 30


@dataclass(slots=True)
class Running:
    """A process and its log."""

    child: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        """Its number."""
        return self.child.pid

    async def until(self, ready: Callable[[], Awaitable[bool]], what: str) -> None:
        """Wait until it is ready.

        Raises:
            NotReadyError: It ended, or was not ready in time.
        """
        until = time.monotonic() + READY_S
        while not await ready():
            if self.child.poll() is not None or time.monotonic() > until:
                raise NotReadyError(f"{what} did not start", self.log)
            await asyncio.sleep(0.1)

    async def stop(self) -> None:
        """Ask it to end, and wait."""
        if process := Process.of(self.pid):
            await processes.stop([process], deadline_s=STOP_S, first=signal.SIGTERM)
        self.child.wait(5)


def start(folder: Path, name: str, *command: str, variables: Mapping[str, str]) -> Running:
    """Start a Python module, its output in a log of its own; it ends when this process does."""
    log = folder / "logs" / f"{name}.log"
    child = processes.spawn(
        [sys.executable, "-m", *command],
        folder=folder,
        log=log,
        env=environment(variables),
        user=None,
        cwd=ROOT,
        tied=True,
    )
    return Running(child, log)


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment without any `LEVERET_` or `BENCH_` variables but these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LEVERET_", "BENCH_"))}
    return {**kept, **variables}


def engine_of(pid: int) -> int:
    """The engine that a worker's keeper started."""
    return child_of(child_of(pid)["child"])["child"]


def child_of(pid: int) -> dict[str, int]:
    """The first process that a worker started, which is the one that runs the jobs."""
    files = Path(f"/proc/{pid}/task").glob("*/children")  # listed under the thread that started it
    found = sorted(int(each) for file in files for each in file.read_text().split())
    return {"child": found[0]} if found else {}
