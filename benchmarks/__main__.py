"""`python -m benchmarks [--quick]`: starts private servers, measures both sides, prints one table."""

from __future__ import annotations

import argparse
import sys

from benchmarks import report, surroundings
from benchmarks.leveret import Leveret
from benchmarks.measuring import Measuring, workers_gone
from benchmarks.peer.side import VHOST, CeleryPeer
from benchmarks.plan import FULL, QUICK
from benchmarks.session import ended, servers_of_its_own
from benchmarks.sides import Side
from deploy.local.progress import Progress


def main() -> int:
    """Run; returns the exit status."""
    asked = _parser().parse_args()
    return ended(_run(asked))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Leveret beside Celery.")
    parser.add_argument(
        "--quick", action="store_true", help="a look in under a minute: one round of everything"
    )
    parser.add_argument(
        "--confirms", action="store_true", help="let Celery wait for the broker's confirms too"
    )
    return parser


async def _run(asked: argparse.Namespace) -> None:
    progress, machine = Progress(), surroundings.machine()
    async with servers_of_its_own(progress, vhosts=[VHOST]) as (folder, settings):
        sides: list[Side] = [Leveret(folder, settings), CeleryPeer(folder, settings, confirms=asked.confirms)]
        async with workers_gone(sides):
            figures = await Measuring(sides, QUICK if asked.quick else FULL, progress).run(folder)
            servers = await surroundings.servers(settings)
    progress.say("everything is stopped")
    print(f"\n{report.table(figures)}\n\n{report.client_note(figures)}")
    print(f"{surroundings.today()}, {machine}.\n{servers}; {surroundings.packages()}.")
    print(_told(confirms=asked.confirms, quick=asked.quick))


def _told(*, confirms: bool, quick: bool) -> str:
    return (
        "Medians of the rounds, lowest and highest in brackets. Celery: prefork -c 1, prefetch 1, acks late, "
        "started tracked, results in Redis, x-max-priority 10, persistent messages, "
        f"publisher confirms {'on' if confirms else 'off (its default)'}. "
        "Leveret commits to PostgreSQL, confirms its publish and stores its outputs in S3."
        + (" A quick look: one round, few samples." if quick else "")
    )


if __name__ == "__main__":
    sys.exit(main())
