"""Nothing that an algorithm starts outlives its engine: the keeper, a small process above each engine.

    worker ── keeper (what was exec'd; it computes nothing) ── engine ── whatever an algorithm starts

A process group is not enough: `setsid`, a double fork or a daemon leaves it. So the keeper is a *child
subreaper*: whoever loses its parent below it becomes the keeper's own child instead of init's. When the
engine has ended, or its end is asked for (SIGTERM, which the kernel also sends when the worker dies), the
keeper kills its children until it has none, and then ends as the engine did: the worker reads its exit code.

Only *direct* children are ever killed, and only by the keeper, who alone waits for them: until it has waited,
the kernel gives their numbers to nobody else, so no stranger can be hit. Killing a generation hands over the
next. An algorithm that kills its own keeper takes its engine along and may leave others; this is no sandbox.

`leveret run` does the same around the one process that it starts. Standard library only; elsewhere than on
Linux there are no subreapers, and only the engine itself is ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_FIRST = "1000"
_AWAITED = {signal.SIGTERM, signal.SIGCHLD}
# Who cannot be killed (waits for a dead disk, runs as another user) must not keep the worker waiting.
_LIMIT_S = 5.0
_ROUND_S = 0.005


def keep(line: int) -> None:
    """Become the keeper of a child, which is the engine; returns in that child only, leader of a session.

    Call it first of all: it forks, which is safe only while there are no threads and nothing is loaded.

    Args:
        line: The engine's socket to the worker, which has to close when the engine closes it.
    """
    _die_with_parent(signal.SIGTERM)
    adopt_orphans()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash must not write a model's memory to the disk
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, children would vanish with their exit codes
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
    engine = os.fork()
    if engine:
        os.close(line)
        status = _ended(engine)
        end_children()
        _end_alike(status)
    os.setsid()
    _die_with_parent(signal.SIGKILL)
    _go_first()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def adopt_orphans() -> None:
    """Become the parent of every descendant that loses its own."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_children(spared: frozenset[int] = frozenset()) -> None:
    """Kill and wait for this process's children and, as they are handed over, all descendants.

    Args:
        spared: Children that are somebody else's business.
    """
    give_up = time.monotonic() + _LIMIT_S
    while (found := children() - spared) and time.monotonic() < give_up:
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if sum(map(_reaped, found)) == 0:
            time.sleep(_ROUND_S)


def children() -> frozenset[int]:
    """This process's direct children, ended ones that nobody has waited for included."""
    return frozenset(pid for pid, parent in _processes() if parent == os.getpid())


def _processes() -> Iterator[tuple[int, int]]:
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            fields = entry.read_bytes().rpartition(b")")[2].split()
            yield int(entry.parent.name), int(fields[1])


def _die_with_parent(number: signal.Signals) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)


def _go_first() -> None:
    """Short of memory, the kernel shall end this process or its children, not the worker or a database."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_FIRST)


def _ended(engine: int) -> int:
    """Wait for the engine, as init would for everybody else; its wait status."""
    while True:
        if signal.sigwait(_AWAITED) == signal.SIGTERM:
            os.kill(engine, signal.SIGKILL)
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == engine:
                return ended[1]


def _reaped(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def _end_alike(status: int) -> NoReturn:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)  # no second report of a crash
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status))
