"""Start a worker: ``python -m gpu_worker``."""

from __future__ import annotations

import sys

import uvloop

from gpu_worker.engine.launch import hide_worker
from gpu_worker.settings import WorkerSettings
from gpu_worker.wiring import serve
from shared.errors import Misconfigured
from shared.lifecycle import Lifecycle, run
from shared.settings import read_settings
from shared.telemetry.logging import configure_logging


def main() -> int:
    """Run the worker; returns the exit code."""
    hide_worker()
    try:
        settings = read_settings(WorkerSettings)
    except Misconfigured as error:
        sys.stderr.write(f"{error}\n")
        return 2
    configure_logging(settings.log, service="worker")

    async def work(lifecycle: Lifecycle) -> None:
        await serve(settings, lifecycle)

    return run(work, loop_factory=uvloop.new_event_loop)


if __name__ == "__main__":
    sys.exit(main())
