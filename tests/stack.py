"""What the fixtures of conftest.py do with the private servers: fresh databases, buckets, a migration."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from deploy.local.failure import MissingProgramError
from deploy.local.private import PrivateServers
from deploy.local.seaweedfs import s3_client

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parent.parent
VHOSTS = [f"t{number}" for number in range(40)]
E2E_VHOST = "e2e"
TEMPLATE = "leveret_template"
FOLDERS = Path("/var/tmp")  # noqa: S108  a new folder of a random name in it, owned by us
"""Where other accounts can reach them: as root, servers drop to those."""
PREFIX = "leveret-tests-"
ABANDONED_S = 6 * 3600


@contextmanager
def private_servers() -> Iterator[dict[str, str]]:
    """Servers on free ports in a new folder, tied to this process; gone afterwards with their data."""
    remove_abandoned()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=FOLDERS))
    folder.chmod(0o755)
    servers = PrivateServers(folder, tied=True, vhosts=[*VHOSTS, E2E_VHOST])
    with asyncio.Runner() as runner:
        try:
            yield runner.run(servers.start())
        except MissingProgramError as missing:
            skip_or_fail(str(missing))
        finally:
            runner.run(servers.stop())
            servers.remove_data()


def remove_abandoned() -> None:
    """Remove what a session that was killed left: its servers ended with it, its folder did not."""
    for folder in FOLDERS.glob(f"{PREFIX}*"):
        status = folder.lstat()
        if status.st_uid == os.geteuid() and time.time() - status.st_mtime > ABANDONED_S:
            shutil.rmtree(folder, ignore_errors=True)


def skip_or_fail(why: str) -> None:
    """A missing program is a skip on a laptop and a failure in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


def process_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with these `LEVERET_` variables and no others: for a child process."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LEVERET_")}
    return {**kept, **settings}


def make_template(dsn: str) -> str:
    """Create the migrated database that fresh ones are copied from; returns its DSN."""
    asyncio.run(_execute(dsn, f'create database "{TEMPLATE}"'))
    template = with_database(dsn, TEMPLATE)
    subprocess.run(
        [sys.executable, "-m", "shared.adapters.store.migrate"],
        check=True,
        cwd=ROOT,
        timeout=60,
        env=process_environment({"LEVERET_POSTGRES_DSN": template}),
    )
    return template


@contextmanager
def fresh_database(dsn: str, name: str) -> Iterator[str]:
    """A copy of the template, dropped afterwards."""
    asyncio.run(_execute(dsn, f'create database "{name}" template "{TEMPLATE}"'))
    yield with_database(dsn, name)
    asyncio.run(_execute(dsn, f'drop database "{name}" with (force)'))


@contextmanager
def package_env(servers: Mapping[str, str], name: str, *, vhost: str, redis: int) -> Iterator[dict[str, str]]:
    """What else a module has for itself (see conftest.py), for a whole folder.

    Args:
        servers: The private ones.
        name: The folder's.
        vhost: Its own.
        redis: The number of a database that no other folder has.
    """
    s3 = {key: value for key, value in servers.items() if key.startswith("LEVERET_S3_")}
    s3["LEVERET_S3_BUCKET"] = f"test-{name}"
    asyncio.run(make_bucket(s3))
    with fresh_database(servers["LEVERET_POSTGRES_DSN"], f"test_{name}") as dsn:
        yield {
            "LEVERET_POSTGRES_DSN": dsn,
            "LEVERET_RABBITMQ_URL": servers["LEVERET_RABBITMQ_URL"] + vhost,
            "LEVERET_REDIS_URL": servers["LEVERET_REDIS_URL"].removesuffix("/0") + f"/{redis}",
            **s3,
        }


def with_database(dsn: str, name: str) -> str:
    """The same server and account, another database."""
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        await connection.execute(statement, timeout=30)
    finally:
        await connection.close(timeout=5)


async def make_bucket(settings: Mapping[str, str]) -> None:
    """Create the bucket these settings name."""
    async with s3_client(settings) as s3:
        await s3.create_bucket(Bucket=settings["LEVERET_S3_BUCKET"])
