"""Servers whose administrator's tools a test can call, and commands of a page run as they stand there."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import sys
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from deploy.local import programs
from deploy.local.private import PrivateServers
from deploy.local.server import base_environment
from tests.stack import FOLDERS, ROOT, process_environment, skip_or_fail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

PAGES = ROOT / "docs" / "runbook"
PROGRAMS = ("curl", "jq", "psql", "pg_dump", "pg_restore", "redis-cli")
BLOCK_S = 90
_BLOCK = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks_of(page: Path) -> list[str]:
    """The page's blocks of shell commands, in order."""
    return _BLOCK.findall(page.read_text())


@asynccontextmanager
async def administered() -> AsyncIterator[tuple[PrivateServers, dict[str, str]]]:
    """Servers of the caller's own, with an environment in which the runbook's tools find them."""
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        skip_or_fail(f"not installed: {', '.join(missing)}")
    folder = Path(tempfile.mkdtemp(prefix="leveret-runbook-", dir=FOLDERS))
    folder.chmod(0o755)
    servers = PrivateServers(folder, tied=True)
    try:
        settings = await servers.start()
        yield servers, settings | _tools(servers, settings)
    finally:
        await servers.stop()
        servers.remove_data()


def _tools(private: PrivateServers, settings: Mapping[str, str]) -> dict[str, str]:
    tools = private.place.folder / "tools"
    tools.mkdir()
    _wrap(tools / "rabbitmqctl", private)
    redis = urlsplit(settings["LEVERET_REDIS_URL"])
    return {
        "PATH": f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "REDIS_HOST": str(redis.hostname),
        "REDIS_PORT": str(redis.port),
        "REDISCLI_AUTH": str(redis.password),
        "AWS_ENDPOINT_URL": settings["LEVERET_S3_ENDPOINT"],
        "AWS_DEFAULT_REGION": settings["LEVERET_S3_REGION"],
        "AWS_ACCESS_KEY_ID": settings["LEVERET_S3_ACCESS_KEY"],
        "AWS_SECRET_ACCESS_KEY": settings["LEVERET_S3_SECRET_KEY"],
    }


def _wrap(tool: Path, private: PrivateServers) -> None:
    """The broker's own tool, as its administrator would have it: at the right node, with its cookie."""
    server = next(each for each in private._servers(keep=True) if each.name == "rabbitmq")
    env = {**base_environment(private.place.data / "rabbitmq"), **server.environment()}
    words = [f"{name}={value}" for name, value in env.items()]
    become = ["setpriv", f"--reuid={server.account}", f"--regid={server.account}", "--clear-groups"]
    program = programs.find_rabbitmq().with_name("rabbitmqctl")
    command = shlex.join([*(become if server.account else []), "env", "-i", *words, str(program)])
    tool.write_text(f'#!/bin/sh\ncd /\nexec {command} "$@"\n')
    tool.chmod(0o755)


async def run(command: str, settings: Mapping[str, str]) -> tuple[int, str]:
    """Run shell commands with these settings; their exit status and all that they printed."""
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", f"set -euo pipefail\n{command}"),
        cwd=ROOT,
        env=process_environment(settings),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(BLOCK_S):
        printed, _ = await process.communicate()
    return process.returncode or 0, printed.decode(errors="replace")
