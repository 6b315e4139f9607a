"""Where a demonstration plays: the gateway that is there, else a private stack that is gone afterwards.

The stack is another program of the checkout: it is started, never imported.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.client.errors import ConfigError, UnreachableError
from gateway.client.retry import RetryPolicy
from gateway.client.settings import URL_VARIABLE, find_target, read_env

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.client.settings import Target

STACK = "deploy.local"
FOLDERS = Path("/var/tmp")  # noqa: S108  a new folder of a random name in it, owned by us
UP_S, CLEAN_S = 600, 120
ONCE = RetryPolicy(budget_s=0)


@contextmanager
def stage(url: str | None, folder: Path) -> Iterator[Target]:
    """The gateway that is meant here, if it answers; else a new one for as long as this lasts.

    Args:
        url: What the command line says; else the environment and `.leveret/env` do.
        folder: Where to look for that file.

    Raises:
        ConfigError: None is known, and this is no checkout that could start one.
        UnreachableError: The one that was named does not answer, or a private one did not come up.
    """
    target = _running(url, folder)
    if target is not None:
        yield target
        return
    with _private_stack() as started:
        yield started


def _running(url: str | None, folder: Path) -> Target | None:
    named = url is not None or URL_VARIABLE in os.environ
    try:
        target = find_target(url, folder=folder)
        asyncio.run(_answers(target))
    except (ConfigError, UnreachableError):
        if named or not _installed():
            raise
        return None
    return target


async def _answers(target: Target) -> None:
    from gateway.client.aio import AsyncClient  # noqa: PLC0415  not for --help

    async with AsyncClient(target.url, target.api_key, retry=ONCE, timeout_s=10) as client:
        await client.models()


def _installed() -> bool:
    """Whether this is a checkout, which alone has the local stack."""
    return find_spec("deploy") is not None and find_spec(STACK) is not None


@contextmanager
def _private_stack() -> Iterator[Target]:
    folder = Path(tempfile.mkdtemp(prefix="leveret-demo-", dir=FOLDERS))
    folder.chmod(0o755)  # started by root, servers drop to accounts of their own
    try:
        sys.stderr.write(f"no gateway runs: starting a private stack in {folder}\n")
        if _stack(folder, "up", UP_S) != 0:
            raise UnreachableError(f"the private stack did not come up: its logs are in {folder / 'logs'}")
        access = read_env(folder / "env")
        yield find_target(environ=access)
    finally:
        sys.stderr.write("removing the private stack\n")
        _stack(folder, "clean", CLEAN_S)
        shutil.rmtree(folder, ignore_errors=True)


def _stack(folder: Path, verb: str, within_s: float) -> int:
    """Run one of the stack's commands; what it prints for a person goes to stderr."""
    command = [sys.executable, "-m", STACK, "--folder", str(folder), verb]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LEVERET_")}
    done = subprocess.run(  # noqa: S603  our own module, without a shell
        command, env=kept, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=within_s, check=False
    )
    return done.returncode
