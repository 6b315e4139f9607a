"""`python -m gateway`: reads the settings, then hands over to the wiring."""

from __future__ import annotations

import sys

import structlog
import uvloop

from gateway.settings import GatewaySettings
from gateway.wiring import serve
from shared.errors import Misconfigured
from shared.lifecycle import Lifecycle, run
from shared.settings import read_settings
from shared.telemetry.logging import configure_logging


def main() -> int:
    """Run the gateway; returns the process's exit code."""
    try:
        settings = read_settings(GatewaySettings)
    except Misconfigured as error:
        structlog.get_logger().error("process.misconfigured", reason=str(error))
        return 2
    configure_logging(settings.log, service="gateway")

    async def start(lifecycle: Lifecycle) -> None:
        await serve(settings, lifecycle)

    return run(start, loop_factory=uvloop.new_event_loop)


if __name__ == "__main__":
    sys.exit(main())
