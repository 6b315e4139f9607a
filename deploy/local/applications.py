"""Leveret's own processes in the local stack: gateway and scaler; workers are the scaler's business."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2

from deploy.local import processes
from deploy.local.failure import NotReadyError
from deploy.local.processes import Process
from deploy.local.server import HOST

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deploy.local.server import Place
    from deploy.local.state import State

ROOT = Path(__file__).parents[2]
CUSTOMARY_PORT = 8000
SCALER_STATE = "scaler"
POOLS = {"quick": {"device": "cpu", "slots": 4}}
"""The second pool: short jobs, several at a time, and never on the GPU that `images` may be given."""
READY_S = 60
WELL_S = 30
ONCE_S = 120


@dataclass(frozen=True, slots=True)
class Application:
    """One long-lived process of ours.

    Attributes:
        name: Its module, and its log's name.
        check: The admin address that answers 200 when it is ready.
    """

    name: str
    check: str


def settings(
    place: Place, state: State, user: Mapping[str, str], servers: Mapping[str, str]
) -> dict[str, str]:
    """All `LEVERET_` variables of the stack's processes; what the user set himself wins.

    Args:
        place: The stack's folders.
        state: Remembers the ports.
        user: The user's own variables.
        servers: Those of the private servers.
    """
    gateway, gateway_admin = state.ports_for("gateway", 2, first=CUSTOMARY_PORT)
    (scaler_admin,) = state.ports_for("scaler", 1)
    chosen = {
        **servers,
        "LEVERET_CATALOG_PATH": str(place.folder / "models"),
        "LEVERET_GATEWAY_PORT": str(gateway),
        "LEVERET_GATEWAY_ADMIN_PORT": str(gateway_admin),
        "LEVERET_SCALER_ADMIN_PORT": str(scaler_admin),
        "LEVERET_SCALER_FLEET": "process",
        "LEVERET_SCALER_INTERVAL_S": "1",
        "LEVERET_SCALER_LOG_DIR": str(place.logs),
        "LEVERET_SCALER_QUEUES": json.dumps(POOLS),
        "LEVERET_SCALER_STATE_DIR": str(place.folder / SCALER_STATE),
        "LEVERET_SCALER_STOP_S": "25",  # above the workers' drain, below what `down` waits
        "LEVERET_WORKER_DRAIN_S": "20",
        "LEVERET_WORKER_SCRATCH": str(place.scratch),
        **user,
    }
    chosen.setdefault("LEVERET_GATEWAY_PUBLIC_URL", f"http://{HOST}:{chosen['LEVERET_GATEWAY_PORT']}")
    return chosen


def workers(place: Place) -> list[Process]:
    """The living workers in the scaler's own books: a worker hides its environment from its algorithms."""
    books = [json.loads(book.read_text()) for book in (place.folder / SCALER_STATE).glob("*.json")]
    known = [Process(**entry, boot=book["boot"]) for book in books for entry in book["workers"].values()]
    return [process for process in known if process.alive()]


def applications(variables: Mapping[str, str]) -> list[Application]:
    """Gateway and scaler, with where they say that they are ready."""
    return [
        Application(name, f"http://{HOST}:{variables[f'LEVERET_{name.upper()}_ADMIN_PORT']}/readyz")
        for name in ("gateway", "scaler")
    ]


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment with exactly these `LEVERET_` variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LEVERET_")}
    return {**kept, **variables}


async def start(application: Application, variables: Mapping[str, str], place: Place, state: State) -> None:
    """Start a process apart from the terminal and wait until it is ready.

    Raises:
        NotReadyError: It ended, or was not ready in time.
    """
    log = place.fresh_log(application.name)
    child = processes.spawn(
        [sys.executable, "-m", application.name],
        folder=place.folder,
        log=log,
        env=environment(variables),
        user=None,
        cwd=ROOT,
    )
    if process := Process.of(child.pid):
        state.started(application.name, process)
    await _until_ready(application, child, log)


async def _until_ready(application: Application, child: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + READY_S
    while not await ready(application):
        if child.poll() is not None:
            raise NotReadyError(f"{application.name} ended at start (exit status {child.returncode})", log)
        if time.monotonic() > until:
            raise NotReadyError(f"{application.name} was not ready within {READY_S} s", log)
        await asyncio.sleep(0.1)


async def until_well(application: Application, place: Place) -> None:
    """Wait until a living process has found its servers again.

    Raises:
        NotReadyError: It has not in time.
    """
    until = time.monotonic() + WELL_S
    while not await ready(application):
        if time.monotonic() > until:
            raise NotReadyError(
                f"{application.name} was not well within {WELL_S} s", place.log(application.name)
            )
        await asyncio.sleep(0.2)


async def ready(application: Application) -> bool:
    """Does it say that it and all it depends on are well?"""
    async with httpx2.AsyncClient(trust_env=False, timeout=5) as client:
        try:
            return (await client.get(application.check)).is_success
        except httpx2.TransportError:
            return False


async def run_module(
    name: str, *arguments: str, variables: Mapping[str, str], log: Path, python: str = sys.executable
) -> str:
    """Run one of our modules to its end, by this Python or another; returns what it printed.

    Raises:
        NotReadyError: It failed or took longer than two minutes.
    """
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *(python, "-m", name, *arguments),
            cwd=ROOT,
            env=environment(variables),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
        )
    try:
        async with asyncio.timeout(ONCE_S):
            printed, _ = await process.communicate()
    except TimeoutError:
        raise NotReadyError(f"{name} took longer than {ONCE_S} s", log) from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise NotReadyError(f"{name} failed (exit status {process.returncode})", log)
    return printed.decode().strip()
