"""Signals → drain → stop, and a side task that fails stops the process. In processes of their own."""

from __future__ import annotations

import subprocess
import sys

DRAIN = """
import asyncio, os, signal
from shared.lifecycle import run
async def main(life):
    async def beside():
        try:
            await asyncio.sleep(60)
        finally:
            print("side task ended")
    life.spawn("beside", beside)
    os.kill(os.getpid(), signal.SIGTERM)
    await life.draining.wait()
    print("drained")
raise SystemExit(run(main))
"""

SIDE_TASK_FAILS = """
import asyncio
from shared.errors import Unavailable
from shared.lifecycle import run
async def main(life):
    async def dies():
        raise {error}
    life.spawn("dies", dies)
    await asyncio.sleep(60)
raise SystemExit(run(main))
"""

TWICE = """
import asyncio, os, signal
from shared.lifecycle import run
async def main(life):
    os.kill(os.getpid(), signal.SIGTERM)
    await life.draining.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(60)
try:
    run(main)
except asyncio.CancelledError:
    print("ended at once")
"""


def ran(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )


def test_a_signal_drains_and_then_the_side_tasks_end() -> None:
    done = ran(DRAIN)
    assert (done.returncode, done.stdout.split("\n")[:2]) == (0, ["drained", "side task ended"])


def test_a_side_task_that_fails_stops_the_process() -> None:
    defect = ran(SIDE_TASK_FAILS.format(error='ValueError("oops")'))
    assert defect.returncode == 1
    assert "in the side task 'dies'" in defect.stdout + defect.stderr

    known = ran(SIDE_TASK_FAILS.format(error='Unavailable("PostgreSQL is away")'))
    assert known.returncode == 1
    assert "PostgreSQL is away" in known.stdout + known.stderr
    assert "Traceback" not in known.stdout + known.stderr


def test_a_side_task_that_is_canceled_by_nobody_stops_the_process() -> None:
    """As aiormq does to calls on a connection whose heartbeats fail; the group would take it for an end."""
    stray = ran(SIDE_TASK_FAILS.format(error="asyncio.CancelledError"))
    assert stray.returncode == 1
    assert "'dies' was canceled by nobody" in stray.stdout + stray.stderr


def test_a_second_signal_ends_at_once() -> None:
    assert "ended at once" in ran(TWICE).stdout
