"""Fixtures of the whole suite: real servers, started once and only when a test asks for them.

A module gets its own database, virtual host, Redis database and bucket, so that modules share no state.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
from typing import TYPE_CHECKING

import pytest

from tests import stack

if TYPE_CHECKING:
    from collections.abc import Iterator

_numbers = itertools.count(1)


def pytest_configure() -> None:
    """A `kill` ends the session as Ctrl-C does: with every fixture taken down."""
    signal.signal(signal.SIGTERM, _end)


def _end(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not interrupt the taking down
    raise KeyboardInterrupt


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def servers() -> Iterator[dict[str, str]]:
    """The `LEVERET_` variables of the private servers, shared by the whole session."""
    with stack.private_servers() as settings:
        yield settings


@pytest.fixture(scope="session")
def migrated_template(servers: dict[str, str]) -> str:
    return stack.make_template(servers["LEVERET_POSTGRES_DSN"])


@pytest.fixture(scope="module")
def postgres_dsn(servers: dict[str, str], migrated_template: str) -> Iterator[str]:
    """A migrated, empty database of this module's own."""
    assert migrated_template
    with stack.fresh_database(servers["LEVERET_POSTGRES_DSN"], f"test_{next(_numbers)}") as dsn:
        yield dsn


@pytest.fixture(scope="module")
def rabbitmq_url(servers: dict[str, str]) -> str:
    """An empty virtual host of this module's own."""
    return servers["LEVERET_RABBITMQ_URL"] + stack.VHOSTS[next(_numbers) % len(stack.VHOSTS)]


@pytest.fixture(scope="module")
def redis_url(servers: dict[str, str]) -> str:
    """An empty Redis database of this module's own; channels are common to all of them."""
    return servers["LEVERET_REDIS_URL"].removesuffix("/0") + f"/{next(_numbers) % 256}"


@pytest.fixture(scope="module")
def s3(servers: dict[str, str]) -> dict[str, str]:
    """The `LEVERET_S3_` variables of an empty bucket of this module's own."""
    settings = {name: value for name, value in servers.items() if name.startswith("LEVERET_S3_")}
    settings["LEVERET_S3_BUCKET"] = f"test-{next(_numbers)}"
    asyncio.run(stack.make_bucket(settings))
    return settings


@pytest.fixture(scope="module")
def stack_env(postgres_dsn: str, rabbitmq_url: str, redis_url: str, s3: dict[str, str]) -> dict[str, str]:
    """All four as the `LEVERET_` variables of a process under test (see `stack.process_environment`)."""
    return {
        "LEVERET_POSTGRES_DSN": postgres_dsn,
        "LEVERET_RABBITMQ_URL": rabbitmq_url,
        "LEVERET_REDIS_URL": redis_url,
        **s3,
    }
