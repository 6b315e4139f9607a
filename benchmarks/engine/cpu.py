"""CPU time and memory of processes with all that they started, as the kernel counts them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.memory import held_by

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def used_by(roots: Mapping[str, int]) -> dict[str, float]:
    """Seconds of CPU so far, by the root's name.

    What a root started counts as the root's own, but under `NAME's child` where that is the worker: which of
    its two processes a job costs more is of interest. Children that have ended count with their parent.
    """
    used: dict[str, float] = {}
    for name, root in roots.items():
        below = list(descendants(root))
        used[name] = _own(root) + (0 if name == "worker" else sum(map(_own, below)))
        if name == "worker":
            used["child"] = sum(map(_own, below))
    return used


def descendants(pid: int) -> Iterator[int]:
    """All that a process started, directly or not."""
    for file in Path(f"/proc/{pid}/task").glob("*/children"):  # listed under the thread that started it
        for child in _words(file):
            yield int(child)
            yield from descendants(int(child))


def _own(pid: int) -> float:
    """User and system time, its own and that of its children that have ended."""
    words = _words(Path(f"/proc/{pid}/stat"))
    fields = " ".join(words).rpartition(")")[2].split()  # the name before it may hold spaces
    return sum(map(int, fields[11:15])) / TICKS_PER_S


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []  # it ended meanwhile


def held(root: int) -> tuple[float, float]:
    """Megabytes (PSS) of a worker's parent, and of all that it started."""
    return held_by(root).pss, sum(held_by(pid).pss for pid in descendants(root))
