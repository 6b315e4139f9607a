"""The product's processes, and the small supervisor that starts a dead one again, as a scaler would."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.local.ports import free_ports
from tests.chaos.complaints import complaints
from tests.stack import ROOT, process_environment

RESTART_S = 0.3
STOP_S = 12


class Member:
    """One place in the crew: a gateway or a worker, whichever process fills it at the moment.

    Attributes:
        name: Of the place.
        worker: The id under which the present worker claims jobs; of a gateway its name.
        deaths: How often its process ended while the run was on.
        paused: Nobody else may touch it now.
    """

    def __init__(self, name: str, command: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.worker = name
        self.url = ""
        self.deaths = 0
        self.paused = False
        self._command = command
        self._env = env
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self._lives = 0

    @property
    def pid(self) -> int | None:
        """Of the present process."""
        alive = self._process is not None and self._process.returncode is None
        return self._process.pid if alive and self._process else None

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal; False where there is nobody to get it."""
        if self.pid is None:
            return False
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:  # it ended, and the event loop has yet to hear of it
            return False
        return True

    def stop(self) -> bool:
        """Let it stand still, for one fault alone; False where there is nobody."""
        self.paused = self.signal(signal.SIGSTOP)
        return self.paused

    def go_on(self) -> None:
        """Let it run again, if it still lives."""
        self.paused = False
        self.signal(signal.SIGCONT)

    def engines(self) -> list[int]:
        """The pids of its engine processes."""
        return [] if self.pid is None else [pid for pid in _children(self.pid) if b"serve" in _command(pid)]

    async def keep(self) -> None:
        """Start it, and again whenever it has ended; stopped for good by cancellation."""
        while True:
            await self._live()
            self.deaths += 1
            await asyncio.sleep(RESTART_S)

    async def _live(self) -> None:
        self._lives += 1
        env = dict(self._env)
        if "LEVERET_WORKER_QUEUE" in env:
            self.worker = env["LEVERET_WORKER_ID"] = f"{self.name}-{self._lives}"
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                "setpriv", "--pdeathsig", "TERM", "--", *self._command,
                cwd=ROOT, env=process_environment(env), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            await self._process.wait()
        except asyncio.CancelledError:
            await self._end(self._process)
            raise

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        for number in (signal.SIGCONT, signal.SIGTERM):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


class Crew:
    """Two gateways and a few workers."""

    def __init__(self, folder: Path, env: Mapping[str, str], slots: Sequence[int], sabotage: str) -> None:
        self._folder = folder
        self._env = {**env, "LEVERET_CATALOG_PATH": str(folder / "catalog"), "LEVERET_LOG_LEVEL": "info"}
        self._sabotage = sabotage
        self.gateways = [self._gateway(f"gateway-{number}") for number in range(2)]
        self.workers = [self._worker(f"worker-{number}", count) for number, count in enumerate(slots)]
        self._keeping: list[asyncio.Task[None]] = []

    @property
    def members(self) -> list[Member]:
        """All of them."""
        return [*self.gateways, *self.workers]

    async def start(self) -> None:
        """Start the gateways, which declare the queue, then the workers."""
        for member in self.gateways:
            self._keep(member)
        await asyncio.gather(*(_listening(member) for member in self.gateways))
        for member in self.workers:
            self._keep(member)
        await asyncio.gather(*(_ready(member) for member in self.workers))

    async def stop(self) -> None:
        """End everything, engines included."""
        for task in self._keeping:
            task.cancel()
        await asyncio.gather(*self._keeping, return_exceptions=True)
        for pid in _working_below(self._folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def failures(self) -> list[str]:
        """What the processes logged that no fault excuses."""
        lines = []
        for member in self.members:
            text = member._log.read_text(errors="replace") if member._log.exists() else ""
            lines += [f"{member.name}: {line}" for line in complaints(text.splitlines())]
        return lines

    def _keep(self, member: Member) -> None:
        self._keeping.append(asyncio.create_task(member.keep(), name=member.name))

    def _gateway(self, name: str) -> Member:
        port, admin = free_ports(2)
        env = {
            **self._env,
            "LEVERET_GATEWAY_PORT": str(port),
            "LEVERET_GATEWAY_ADMIN_PORT": str(admin),
            "LEVERET_GATEWAY_PUBLIC_URL": f"http://127.0.0.1:{port}",
            "LEVERET_RABBITMQ_HEARTBEAT_S": "2",  # a silent broker is given up after 9 s
        }
        member = Member(name, self._command("gateway"), env, self._folder / f"{name}.log")
        member.url = f"http://127.0.0.1:{port}"
        return member

    def _worker(self, name: str, slots: int) -> Member:
        env = {
            **self._env,
            "LEVERET_WORKER_QUEUE": "chaos",
            "LEVERET_WORKER_SLOTS": str(slots),
            "LEVERET_WORKER_DRAIN_S": "1",
            "LEVERET_WORKER_SCRATCH": str(self._folder / "scratch"),
        }
        return Member(name, self._command("gpu_worker"), env, self._folder / f"{name}.log")

    def _command(self, module: str) -> list[str]:
        if not self._sabotage:
            return [sys.executable, "-m", module]
        return [sys.executable, "-m", "tests.chaos.sabotaged", module, self._sabotage]


async def _ready(member: Member) -> None:
    async with asyncio.timeout(60):
        while not member._log.exists() or '"worker.ready"' not in member._log.read_text():
            await asyncio.sleep(0.2)


async def _listening(member: Member) -> None:
    port = int(member.url.rpartition(":")[2])
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.1)
    raise TimeoutError(f"{member.name} does not listen:\n{member._log.read_text()[-4000:]}")


def _children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(number) for number in text.split()]


def _command(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def _working_below(folder: Path) -> list[int]:
    """Engines that outlived their worker: they run in its scratch folder."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):
            if place.readlink().is_relative_to(folder / "scratch"):
                found.append(int(place.parent.name))
    return found
