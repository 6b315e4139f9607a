"""What a figure means nothing without: date, machine, versions, settings."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import aiormq
import asyncpg
import redis.asyncio

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PACKAGES = ("celery", "kombu", "fastapi", "uvicorn", "uvloop", "redis", "aiormq", "asyncpg")


async def servers(settings: Mapping[str, str]) -> str:
    """Names and versions of the servers that both sides share, and PostgreSQL's."""
    connection = await asyncpg.connect(settings["LEVERET_POSTGRES_DSN"], timeout=10)
    postgres = connection.get_server_version()
    await connection.close(timeout=5)
    async with redis.asyncio.from_url(settings["LEVERET_REDIS_URL"], socket_timeout=10) as client:
        redis_version = (await client.info("server"))["redis_version"]
    broker = await aiormq.connect(settings["LEVERET_RABBITMQ_URL"])
    rabbitmq = broker.server_properties["version"]
    await broker.close()
    shown = rabbitmq.decode() if isinstance(rabbitmq, bytes) else rabbitmq
    return f"RabbitMQ {shown}, Redis {redis_version}, PostgreSQL {postgres.major}.{postgres.minor}"


def packages(more: Sequence[str] = ()) -> str:
    """Python and what all sides are built on."""
    names = dict.fromkeys([*PACKAGES, *more])
    return ", ".join([f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in names)])


def machine() -> str:
    """Cores this process may use, and how busy the machine was before."""
    cores = len(os.sched_getaffinity(0))
    return (
        f"{cores} cores ({_processor()}) shared by everything; load before the run {os.getloadavg()[0]:.1f}"
    )


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def today() -> str:
    """The date, UTC."""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
