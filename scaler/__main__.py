"""`python -m scaler`: the process that starts and stops workers."""

from __future__ import annotations

import sys

from scaler.settings import ScalerSettings
from scaler.wiring import serve
from shared.errors import Misconfigured
from shared.lifecycle import run
from shared.settings import read_settings
from shared.telemetry.logging import configure_logging


def main() -> int:
    """Run until SIGTERM or SIGINT; returns the exit code, 2 for settings that don't fit."""
    try:
        settings = read_settings(ScalerSettings)
    except Misconfigured as error:
        sys.stderr.write(f"{error}\n")
        return 2
    configure_logging(settings.log, service="scaler")
    return run(lambda lifecycle: serve(settings, lifecycle))


if __name__ == "__main__":
    sys.exit(main())
