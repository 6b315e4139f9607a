"""One command at a time may change a stack."""

from __future__ import annotations

import asyncio
import fcntl
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from deploy.local.failure import StackError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from deploy.local.progress import Progress

PATIENCE_S = 180


@asynccontextmanager
async def exclusive(folder: Path, progress: Progress) -> AsyncIterator[None]:
    """Hold the stack's lock; the kernel frees it however the holder ends.

    Raises:
        StackError: Another command kept it too long, or the folder is another account's.
    """
    _own(folder)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        await _take(descriptor, progress)
        yield
    finally:
        os.close(descriptor)


def _own(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    if folder.stat().st_uid != os.geteuid():
        raise StackError(
            f"{folder} belongs to {folder.owner()}: use that account, or let it `make clean` first"
        )


async def _take(descriptor: int, progress: Progress) -> None:
    if _try(descriptor):
        return
    progress.say("another command is at work on this stack: waiting for it")
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not _try(descriptor):  # noqa: ASYNC110  flock can block, but not be awaited
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise StackError(f"another command held this stack for {PATIENCE_S} s") from None


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
