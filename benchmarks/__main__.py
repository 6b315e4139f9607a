"""`python -m benchmarks [--quick]`: starts private servers, measures both sides, prints one table."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks import report, surroundings
from benchmarks.leveret import Leveret
from benchmarks.load import UnexpectedAnswerError
from benchmarks.measuring import Measuring, workers_gone
from benchmarks.peer.side import VHOST, CeleryPeer
from benchmarks.plan import FULL, QUICK
from benchmarks.sides import Side
from deploy.local.failure import StackError
from deploy.local.private import PrivateServers
from deploy.local.progress import Progress

INTERRUPTED = 130


def main() -> int:
    """Run; returns the exit status."""
    asked = _parser().parse_args()
    try:
        asyncio.run(_run(asked))
    except (StackError, UnexpectedAnswerError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("\ninterrupted: everything is stopped and removed", file=sys.stderr)
        return INTERRUPTED
    return 0


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
    task = asyncio.current_task()
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel if task else lambda: None)
    progress, machine = Progress(), surroundings.machine()
    async with _servers(progress) as (folder, settings):
        sides: list[Side] = [Leveret(folder, settings), CeleryPeer(folder, settings, confirms=asked.confirms)]
        async with workers_gone(sides):
            figures = await Measuring(sides, QUICK if asked.quick else FULL, progress).run(folder)
            servers = await surroundings.servers(settings)
    progress.say("everything is stopped")
    print(f"\n{report.table(figures)}\n\n{report.client_note(figures)}")
    print(f"{surroundings.today()}, {machine}.\n{servers}; {surroundings.packages()}.")
    print(_told(confirms=asked.confirms, quick=asked.quick))


def _folder() -> Path:
    """A new folder on a disk, which the servers' own accounts can reach."""
    folder = Path(tempfile.mkdtemp(prefix="leveret-bench-", dir="/var/tmp"))
    folder.chmod(0o755)
    return folder


@asynccontextmanager
async def _servers(progress: Progress) -> AsyncIterator[tuple[Path, dict[str, str]]]:
    """Private servers as in production (fsync on), gone with their data afterwards, however this ends."""
    folder = _folder()
    servers = PrivateServers(folder, tied=True, durable=True, vhosts=[VHOST], progress=progress)
    try:
        async with servers as settings:
            yield folder, settings
    finally:
        servers.remove_data()


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
