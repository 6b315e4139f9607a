"""A memory cgroup of our own, of version 1 or 2, where the kernel ends what takes too much.

version 1   /sys/fs/cgroup/memory, where any root may make groups
version 2   /sys/fs/cgroup, beside the group that this process is in: a limit stands only where groups
            above hand the memory controller down, and no process may be in one that does
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

MOUNT = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class MemoryGroup:
    """Processes with so much memory together, and no more.

    Attributes:
        folder: Of the group.
        home: The group that its processes came from.
        limit: The file that takes the limit.
        swap: The one that takes the limit of what may be swapped out.
        kills: The one that counts whom the kernel killed.
    """

    folder: Path
    home: Path
    limit: str
    swap: str
    kills: str

    def take(self, pid: int) -> None:
        """From now on the limit holds for this process."""
        (self.folder / "cgroup.procs").write_text(str(pid))

    def killed(self) -> int:
        """How many of its processes the kernel has ended for their memory."""
        counts = dict(line.split() for line in (self.folder / self.kills).read_text().splitlines())
        return int(counts["oom_kill"])

    def make(self, limit_bytes: int) -> None:
        """Raises OSError where that is not allowed."""
        self.folder.mkdir()
        (self.folder / self.limit).write_text(str(limit_bytes))
        with suppress(OSError):  # a kernel that does not count swap has none to give, or no way to refuse it
            (self.folder / self.swap).write_text(self._no_swap(limit_bytes))

    def remove(self) -> None:
        """Who came through alive goes home."""
        if self.folder.exists():
            for pid in (self.folder / "cgroup.procs").read_text().split():
                (self.home / "cgroup.procs").write_text(pid)
            self.folder.rmdir()

    def _no_swap(self, limit_bytes: int) -> str:
        return "0" if self.swap == "memory.swap.max" else str(limit_bytes)


@contextmanager
def memory_group(limit_bytes: int) -> Iterator[MemoryGroup]:
    """One that is gone with the block.

    Raises:
        OSError: None can be made here, or its limit would not hold.
    """
    group = _second() if (MOUNT / "cgroup.controllers").exists() else _first()
    try:
        group.make(limit_bytes)
        yield group
    finally:
        group.remove()


def _first() -> MemoryGroup:
    home = MOUNT / "memory"
    name = f"leveret-{uuid4()}"
    return MemoryGroup(
        home / name, home, "memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.oom_control"
    )


def _second() -> MemoryGroup:
    home = MOUNT / _own_group().lstrip("/")
    above = home if home == MOUNT else home.parent
    if "memory" not in (above / "cgroup.subtree_control").read_text().split():
        raise PermissionError(f"{above} hands no memory controller down to its groups")
    return MemoryGroup(above / f"leveret-{uuid4()}", home, "memory.max", "memory.swap.max", "memory.events")


def _own_group() -> str:
    lines = Path(f"/proc/{os.getpid()}/cgroup").read_text().splitlines()
    return next(line.removeprefix("0::") for line in lines if line.startswith("0::"))
