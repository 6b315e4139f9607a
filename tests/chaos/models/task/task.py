"""The algorithm of the chaos run. It writes down every execution, for the checker to count."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

EXECUTIONS = Path(__file__).parents[2] / "executions.log"
TICK_S = 0.1


def run(*, note: Any, blob: bytes | None = None, kind: str = "noop", seconds: float = 0, job: Any) -> Any:
    with EXECUTIONS.open("a") as executions:
        executions.write(f"{job.id} {time.time():.3f}\n")
    if kind == "fail":
        raise ValueError("this one was meant to fail")
    if kind == "retry" and random.random() < 0.6:  # noqa: S311  whether it asks again is no secret
        raise job.Retry("not this time", after_s=0.3)
    if kind == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    _nap(seconds, job)
    return {"note": note, "size": len(blob or b"")}


def _nap(seconds: float, job: Any) -> None:
    began = time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        job.progress(passed / seconds)
        time.sleep(min(TICK_S, seconds - passed))
