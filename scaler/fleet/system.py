"""Processes of this machine, told apart from strangers that got the same number later. Linux only."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_STATE, _GROUP_START = 0, 19
"""Fields of /proc/PID/stat behind the name: the state, and when it started (proc(5): 3 and 22)."""
_DEAD = frozenset("ZXx")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process for good: its number and the moment it started, in clock ticks since the machine's."""

    pid: int
    started: int

    @property
    def age_s(self) -> float:
        """Seconds since it started, whether or not it still runs; no wall clock is involved."""
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - self.started / _TICKS_PER_S)

    @property
    def alive(self) -> bool:
        """Whether it still runs; one that ended and was not collected does not."""
        fields = _stat(self.pid)
        return fields is not None and _is(fields, self) and fields[_STATE] not in _DEAD

    def send(self, number: int, *, group: bool = False) -> bool:
        """Send a signal to it, or to its whole group; False when it ended already.

        A handle is opened before the check, so that no other process can be hit.
        """
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if not self.alive:
                return False
            if group:
                os.killpg(self.pid, number)
            else:
                signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)
        return True


def boot_id() -> str:
    """Which start of the machine this is: process numbers mean nothing after the next one."""
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def spawn(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Process:
    """Start a program in a session of its own, its output appended to `log`.

    A plain spawn and not `subprocess`: such a child may outlive its parent without a complaint.

    Raises:
        OSError: The program or the log can't be opened.
    """
    pid = os.posix_spawn(
        command[0],
        list(command),
        dict(environment),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        setsigmask=[],
        setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE],
    )
    fields = _stat(pid)
    if fields is None:  # not collected yet, so it is there even if it ended
        raise ProcessLookupError(f"process {pid} vanished")
    return Process(pid=pid, started=int(fields[_GROUP_START]))


def collect(process: Process) -> int | None:
    """The exit code of a child of ours that ended (negative: the signal), which frees its number."""
    try:
        pid, status = os.waitpid(process.pid, os.WNOHANG)
    except ChildProcessError:
        return None  # somebody else's child: adopted
    return os.waitstatus_to_exitcode(status) if pid else None


def _stat(pid: int) -> list[str] | None:
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()


def _is(fields: Sequence[str], process: Process) -> bool:
    return int(fields[_GROUP_START]) == process.started
