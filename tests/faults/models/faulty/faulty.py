"""An algorithm that goes wrong in the way it is told to, and writes down every run of it."""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path
from typing import Any

HOARD_BYTES = 512 << 20
"""Far above what the test's memory limit allows; an end, in case there is no limit."""
PIECE = 8 << 20


def run(
    *,
    note: Any,
    blob: bytes = b"",
    how: str = "well",
    gate: str = "",
    seconds: float = 0,
    size: int = 1,
    job: Any,
) -> dict[str, Any]:
    print(f"running in {os.getpid()}", flush=True)  # noqa: T201  what the job's log shows
    run_number = _wait(Path(gate)) if gate else 1
    time.sleep(seconds)
    if how == "again" and run_number == 1:
        raise job.Retry("not the first time", after_s=0.1)
    _end_badly(how)
    return {"note": {"note": note, "read": len(blob)}, "blob": os.urandom(size)}


def _wait(gate: Path) -> int:
    """Wait at the gate; says which of its job's runs this is."""
    runs = Path(f"{gate}.runs")
    with runs.open("a") as file:
        file.write(f"{os.getpid()}\n")
    while not gate.exists():  # another process makes it
        time.sleep(0.02)
    return len(runs.read_text().splitlines())


def _end_badly(how: str) -> None:
    if how == "segfault":
        ctypes.string_at(0)
    if how == "hoard":
        held = [b"x" * PIECE for _ in range(HOARD_BYTES // PIECE)]
        held.clear()
    while how == "hang":
        pass
