"""A worker as a process of this machine: found, checked, killed. Linux; standard library only.

Nothing is killed that is not certainly that worker: a host's name may be shared, a number may be another's.
"""

from __future__ import annotations

import os
import signal
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.client.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

PROGRAM = "gpu_worker"


class NotOursError(InputError):
    """A worker that this command must not kill; the text says why."""

    code = "not_ours"


@dataclass(frozen=True, slots=True)
class Victim:
    """A worker that runs here.

    Attributes:
        worker: Its id.
        pid: Its process.
    """

    worker: str
    pid: int

    def kill(self) -> None:
        """`kill -9`: no goodbye to anybody.

        Raises:
            NotOursError: It is not what it was when it was found.
        """
        with _held(self) as handle:
            _check(self)  # the number is this very process from here on, whatever it was before
            signal.pidfd_send_signal(handle, signal.SIGKILL)


def find(worker: Mapping[str, Any]) -> Victim:
    """The process of a worker that the gateway lists.

    Raises:
        NotOursError: It runs elsewhere, in a container, or as another user.
    """
    host, _, pid = str(worker["host"]).rpartition(":")
    name = str(worker["id"])
    if host != socket.gethostname() or not pid.isdigit():
        raise NotOursError(
            f"worker {name} runs on {worker['host']}, not on this machine ({socket.gethostname()}):"
            " only a process of this machine can be killed from here"
        )
    victim = Victim(name, int(pid))
    _check(victim)
    return victim


def _check(victim: Victim) -> None:
    try:
        # Of a process that hides its environment, as a worker does, these two can still be read by anyone.
        words = Path(f"/proc/{victim.pid}/cmdline").read_bytes().split(b"\0")
        status = Path(f"/proc/{victim.pid}/status").read_text()
    except OSError:
        raise NotOursError(
            f"worker {victim.worker} is process {victim.pid}, which is not here: in a container, or gone"
        ) from None
    if PROGRAM.encode() not in words:
        raise NotOursError(
            f"process {victim.pid} is no worker, so {victim.worker} runs elsewhere, or in a container"
        )
    owner = _owner(status)
    if owner != os.geteuid():
        raise NotOursError(
            f"worker {victim.worker} (process {victim.pid}) belongs to user {owner},"
            f" and you are {os.geteuid()}: only a process of your own can be killed from here"
        )


def _owner(status: str) -> int:
    """The effective user of a process."""
    line = next(line for line in status.splitlines() if line.startswith("Uid:"))
    return int(line.split()[2])


@contextmanager
def _held(victim: Victim) -> Iterator[int]:
    try:
        handle = os.pidfd_open(victim.pid)
    except OSError as error:
        raise NotOursError(f"worker {victim.worker} (process {victim.pid}): {error.strerror}") from None
    try:
        yield handle
    finally:
        os.close(handle)
