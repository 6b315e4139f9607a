"""The memory cgroup of version 2, on a tree that looks like one: not every kernel here has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import memory_group as room
from tests.faults.memory_group import memory_group

LIMIT = 1 << 20
EVENTS = "low 0\nhigh 0\nmax 7\noom 1\noom_kill 1\noom_group_kill 0\n"


@pytest.fixture
def above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The group in which this process's own and the new one are; nobody makes the kernel's files."""
    above = tmp_path / "session.slice"
    (above / "own.scope").mkdir(parents=True)
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    monkeypatch.setattr(room, "MOUNT", tmp_path)
    monkeypatch.setattr(room, "_own_group", lambda: "/session.slice/own.scope")
    return above


def test_a_limit_stands_where_the_controller_is_handed_down(above: Path) -> None:
    (above / "cgroup.subtree_control").write_text("memory pids\n")
    group = room._second()

    group.make(LIMIT)
    group.take(4711)
    (group.folder / "memory.events").write_text(EVENTS)

    assert group.folder.parent == above
    assert (group.folder / "memory.max").read_text() == str(LIMIT)
    assert (group.folder / "memory.swap.max").read_text() == "0"
    assert (group.folder / "cgroup.procs").read_text() == "4711"
    assert group.killed() == 1


def test_a_limit_that_would_not_hold_is_refused(above: Path) -> None:
    (above / "cgroup.subtree_control").write_text("pids\n")

    with pytest.raises(OSError, match="hands no memory controller down"), memory_group(LIMIT):
        pass
