"""`python -m scaler [--dry-run]`: the process that starts and stops workers."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from scaler.settings import ScalerSettings
from scaler.wiring import serve
from shared.errors import Misconfigured
from shared.lifecycle import run
from shared.settings import read_settings
from shared.telemetry.logging import configure_logging


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; returns the exit code, 2 for settings that don't fit."""
    asked = _parser().parse_args(arguments)
    try:
        settings = told(read_settings(ScalerSettings), dry_run=asked.dry_run)
    except Misconfigured as error:
        sys.stderr.write(f"{error}\n")
        return 2
    configure_logging(settings.log, service="scaler")
    return run(lambda lifecycle: serve(settings, lifecycle))


def told(settings: ScalerSettings, *, dry_run: bool) -> ScalerSettings:
    """The settings with what the command line says."""
    section = settings.scaler.model_copy(update={"dry_run": settings.scaler.dry_run or dry_run})
    return settings.model_copy(update={"scaler": section})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scaler",
        description="Starts and stops workers. Its settings are LEVERET_… variables: docs/settings.md.",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="decide and log, change nothing: as LEVERET_SCALER_DRY_RUN=true, beside the one that acts",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
