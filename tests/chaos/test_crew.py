"""A member of the crew whose process ended a moment ago is nobody's victim."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.chaos.crew import Member
from tests.chaos.faults import _catch


def a_member_that_just_died(folder: Path) -> Member:
    """Its process is gone, and the event loop has not been told."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait(30)
    member = Member("worker-0", [], {}, folder / "worker-0.log")
    gone: Any = SimpleNamespace(pid=ended.pid, returncode=None)
    member._process = gone
    return member


def test_a_process_that_is_gone_takes_no_signal_and_is_not_stopped(tmp_path: Path) -> None:
    member = a_member_that_just_died(tmp_path)
    assert not member.signal(signal.SIGKILL)
    assert not member.stop()
    assert not member.paused
    member.go_on()


@pytest.mark.anyio
@pytest.mark.parametrize(("engines", "caught"), [([], False), ([7], True)])
async def test_a_worker_whose_engine_has_ended_by_itself_is_let_go(
    engines: list[int], *, caught: bool
) -> None:
    went_on: list[bool] = []
    worker = SimpleNamespace(
        stop=lambda: True, go_on=lambda: went_on.append(True), engines=lambda: engines, worker="worker-0-1"
    )

    async def jobs(*_: object, worker: str) -> frozenset[str]:
        return frozenset({f"a job of {worker}"})

    arena: Any = SimpleNamespace(busy_worker=lambda **_: worker, jobs=jobs)
    found = await _catch(arena, engine=True)
    assert (found is not None, went_on) == (caught, [] if caught else [True])
