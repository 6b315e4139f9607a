"""Where the servers' programs are: on the PATH or in the folders Debian keeps off it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from deploy.local.failure import MissingProgramError

_PLACES = ("/usr/sbin", "/sbin", "/usr/lib/rabbitmq/bin", "/usr/local/sbin")


def find(name: str) -> Path:
    """The program's path.

    Raises:
        MissingProgramError: It is nowhere.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", ""), *_PLACES])
    found = shutil.which(name, path=path)
    if found is None:
        raise MissingProgramError(f"{name} is not installed (deploy/up installs it or says how)")
    return Path(found)


def find_postgres() -> Path:
    """The folder with the newest PostgreSQL's programs (14 or later).

    Raises:
        MissingProgramError: There is none.
    """
    packaged = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=_version, reverse=True)
    for postgres in packaged:
        if _version(postgres) >= 14 and (postgres.parent / "initdb").exists():  # noqa: PLR2004  the oldest supported
            return postgres.parent
    return find("initdb").parent


def _version(postgres: Path) -> int:
    name = postgres.parent.parent.name
    return int(name) if name.isdigit() else 0


def find_rabbitmq() -> Path:
    """RabbitMQ's own start script: the one Debian puts on the PATH insists on its account and /var/lib.

    LEVERET_TEST_RABBITMQ names another one, to run the tests against another version.

    Raises:
        MissingProgramError: There is none.
    """
    if chosen := os.environ.get("LEVERET_TEST_RABBITMQ"):
        return find(chosen)
    packaged = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    return packaged if packaged.exists() else find("rabbitmq-server")


def find_epmd() -> Path:
    """Erlang's port mapper.

    Raises:
        MissingProgramError: There is none.
    """
    bundled = sorted(Path("/usr/lib/erlang").glob("erts-*/bin/epmd"))
    return bundled[-1] if bundled else find("epmd")
