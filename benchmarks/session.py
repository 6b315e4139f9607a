"""What every benchmark run has in common: servers of its own, and an end that leaves nothing behind."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.load import UnexpectedAnswerError
from deploy.local.failure import StackError
from deploy.local.private import PrivateServers
from deploy.local.progress import Progress

INTERRUPTED = 130
PLACE = "/var/tmp"  # noqa: S108  on a disk, where /tmp may be memory


def ended(run: Coroutine[Any, Any, None]) -> int:
    """Run to the end, or until a signal says so; returns the exit status."""
    try:
        asyncio.run(_interruptible(run))
    except (StackError, UnexpectedAnswerError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("\ninterrupted: everything is stopped and removed", file=sys.stderr)
        return INTERRUPTED
    return 0


async def _interruptible(run: Coroutine[Any, Any, None]) -> None:
    task = asyncio.current_task()
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel if task else lambda: None)
    await run


@asynccontextmanager
async def servers_of_its_own(
    progress: Progress, *, vhosts: Sequence[str]
) -> AsyncIterator[tuple[Path, dict[str, str]]]:
    """Private servers as in production (fsync on), gone with their data afterwards, however this ends."""
    folder = _folder()
    servers = PrivateServers(folder, tied=True, durable=True, vhosts=vhosts, progress=progress)
    try:
        async with servers as settings:
            yield folder, settings
    finally:
        servers.remove_data()


def _folder() -> Path:
    """A new folder on a disk, which the servers' own accounts can reach."""
    folder = Path(tempfile.mkdtemp(prefix="leveret-bench-", dir=PLACE))
    folder.chmod(0o755)
    return folder
