"""Processes of the stack: started apart from the terminal, known again later, never mistaken for another.

A pid alone is recycled by the kernel, so a process is known by pid, start time and boot. And whatever the
stack starts (and what that starts in turn) carries the stack's folder in its environment, so that `down`
finds even what an earlier, killed run never wrote down.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

MARK = "_LEVERET_STACK"
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Process:
    """One running process, told apart from a later one that got the same pid.

    Attributes:
        pid: Its number.
        started: Clock ticks from boot to its start.
        boot: The kernel's id of that boot.
    """

    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """Identify the live process with this pid; None when there is none.

        A zombie is none, unless threads of it still run: those hold its ports.
        """
        fields = _stat(pid)
        if fields is None or (fields[0] == "Z" and _threads(pid) <= 1):
            return None
        return cls(pid, int(fields[19]), _boot())

    @classmethod
    def load(cls, record: Mapping[str, Any]) -> Process:
        """The process that `dump` wrote down."""
        return cls(int(record["pid"]), int(record["started"]), str(record["boot"]))

    def dump(self) -> dict[str, int | str]:
        """This process as JSON fields."""
        return asdict(self)

    def alive(self) -> bool:
        """Does this very process still run?"""
        return Process.of(self.pid) == self

    def signal(self, number: signal.Signals) -> None:
        """Send a signal if this very process still runs."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def _stat(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()  # the name before it may hold spaces


def _threads(pid: int) -> int:
    try:
        return sum(1 for _ in Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return 0


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def family(folder: Path) -> list[Process]:
    """Every live process of this stack: those that carry its mark and all their descendants.

    The caller and its own ancestors are left out, marked or not.
    """
    wanted = f"{MARK}={folder}".encode()
    mine = set(_ancestors(os.getpid()))
    found = {pid for pid in _pids() if pid not in mine and wanted in _environment(pid)}
    found |= {pid for pid in _pids() if pid not in mine and not found.isdisjoint(_ancestors(pid))}
    return [process for process in map(Process.of, found) if process is not None]


def working_in(folder: Path, program: str) -> list[Process]:
    """Every live process of that program whose working directory is `folder`."""
    found = (Process.of(pid) for pid in _pids() if _works_in(pid) == (str(folder), program))
    return [process for process in found if process is not None]


def _works_in(pid: int) -> tuple[str, str] | None:
    try:
        return str(Path(f"/proc/{pid}/cwd").readlink()), Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return None


def roots(folder: Path, *, but: Iterable[Process], also: Iterable[Process]) -> list[Process]:
    """The stack's processes that no other one of it started, less `but` and all that those started.

    `also` are processes of it that hide their environment, and so their mark.

    What a root started (a worker's engine, say) is the root's to stop.
    """
    members = {process.pid: process for process in (*family(folder), *also)}
    servers = {process.pid for process in but}
    return [
        process
        for pid, process in members.items()
        if members.keys().isdisjoint(above := list(_ancestors(pid))[1:]) and servers.isdisjoint([pid, *above])
    ]


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208  numbers, not paths


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # gone meanwhile, or another user's: not ours either way
        return []


def _ancestors(pid: int) -> Iterator[int]:
    while pid > 0:
        yield pid
        fields = _stat(pid)
        pid = int(fields[1]) if fields else 0


async def stop(
    processes: Iterable[Process], *, deadline_s: float, first: signal.Signals = signal.SIGTERM
) -> None:
    """Ask processes to end, and end by force those that have not after `deadline_s` seconds."""
    waiting = list(processes)
    for process in waiting:
        process.signal(first)
    if await _gone(waiting, deadline_s):
        return
    for process in waiting:
        process.signal(signal.SIGKILL)
    await _gone(waiting, 5)


async def _gone(processes: Sequence[Process], deadline_s: float) -> bool:
    until = time.monotonic() + deadline_s
    while any(process.alive() for process in processes):
        if time.monotonic() > until:
            return False
        await asyncio.sleep(POLL_S)
    return True


def spawn(
    command: Sequence[str | Path],
    *,
    folder: Path,
    log: Path,
    env: Mapping[str, str],
    user: str | None,
    cwd: Path | None = None,
    tied: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a process in its own session, its output appended to `log`.

    Args:
        command: Program and arguments.
        folder: The stack it belongs to (the mark in its environment).
        log: Where stdout and stderr go.
        env: Its whole environment.
        user: The account it drops to; None keeps the caller's.
        cwd: Where it runs; the root folder if not given.
        tied: Let the kernel end it when the caller dies, however it dies.
    """
    prefix = ["setpriv", "--pdeathsig", "TERM", "--"] if tied else []
    with log.open("ab") as output:
        return subprocess.Popen(
            [*prefix, *map(str, command)],
            env={**env, MARK: str(folder)},
            cwd=cwd or "/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=user,
            group=user and _group(user),
            extra_groups=None if user is None else [],
        )


def _group(user: str) -> int:
    import pwd  # noqa: PLC0415  not on every system, and only needed as root

    return pwd.getpwnam(user).pw_gid
