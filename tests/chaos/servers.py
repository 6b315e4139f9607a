"""The four private servers of a run, each behind its proxy, and what can be done to them from outside."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import redis.asyncio

from deploy.local import processes
from deploy.local.ports import free_ports
from deploy.local.postgres import orphans
from deploy.local.private import PrivateServers
from deploy.local.server import Server
from tests.chaos.proxy import HOST, FaultProxy

VARIABLES = {
    "postgresql": "LEVERET_POSTGRES_DSN",
    "rabbitmq": "LEVERET_RABBITMQ_URL",
    "redis": "LEVERET_REDIS_URL",
    "seaweedfs": "LEVERET_S3_ENDPOINT",
}


class Servers:
    """PostgreSQL, RabbitMQ, Redis and SeaweedFS under one folder.

    Attributes:
        direct: The `LEVERET_` variables that point at the servers themselves: for the run's own eyes.
        settings: The same through the proxies: for the product.
        proxies: By the server's name.
    """

    def __init__(self, folder: Path) -> None:
        self._private = PrivateServers(folder, tied=True)
        self._known: dict[str, Server] = {}
        self.direct: dict[str, str] = {}
        self.settings: dict[str, str] = {}
        self.proxies: dict[str, FaultProxy] = {}

    async def start(self, seed: str) -> None:
        """Start them all, and a proxy for each."""
        self.direct = await self._private.start()
        self._known = {server.name: server for server in self._private._servers()}
        self.settings = dict(self.direct)
        for (name, variable), port in zip(VARIABLES.items(), free_ports(len(VARIABLES)), strict=True):
            parts = urlsplit(self.direct[variable])
            assert parts.port is not None
            dice = Random(f"{seed} proxy {name}")  # noqa: S311  chaos, not secrets
            proxy = self.proxies[name] = FaultProxy(name, parts.port, dice)
            await proxy.start(port)
            account, at, _ = parts.netloc.rpartition("@")
            self.settings[variable] = urlunsplit(parts._replace(netloc=f"{account}{at}{HOST}:{port}"))

    async def stop(self) -> None:
        """Stop everything and remove all data."""
        for proxy in self.proxies.values():
            await proxy.stop()
        await self._private.stop()
        self._private.remove_data()

    def calm(self) -> None:
        """Fine weather everywhere."""
        for proxy in self.proxies.values():
            proxy.calm()

    async def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """End a server by this signal, and wait until nothing of it is left."""
        process = self._private.state.processes[name]
        process.signal(number)
        await _gone([process])
        if name == "postgresql":
            await processes.stop(orphans(self._private.place), deadline_s=5)

    async def restart(self, name: str) -> None:
        """Start a server that was killed; returns when it serves."""
        await self._private._start(self._known[name])

    def wipe(self, name: str) -> None:
        """Remove the data of a broker that is not running."""
        assert name == "rabbitmq"
        shutil.rmtree(self._private.place.data / name / "mnesia", ignore_errors=True)

    async def postgres(self) -> asyncpg.Connection[asyncpg.Record]:
        """A connection that no fault touches but those of the server itself."""
        return await asyncpg.connect(self.direct["LEVERET_POSTGRES_DSN"], timeout=10, command_timeout=30)

    def redis(self) -> Any:
        """A client of Redis itself; to be entered by `async with`."""
        return redis.asyncio.Redis.from_url(
            self.direct["LEVERET_REDIS_URL"], socket_timeout=5, socket_connect_timeout=5
        )


async def _gone(found: Sequence[processes.Process]) -> None:
    async with asyncio.timeout(20):
        while any(process.alive() for process in found):
            await asyncio.sleep(0.05)
