"""A private Redis: TCP on 127.0.0.1 with a password."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

from deploy.local import programs
from deploy.local.accounts import account_for, own_folder
from deploy.local.server import HOST, Place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


class Redis:
    """Redis 6.2 or later."""

    name = "redis"
    stop_signal = signal.SIGTERM

    def __init__(self, place: Place, *, port: int, secret: str, durable: bool) -> None:
        self.account = account_for("redis")
        self._home = place.data / self.name
        self._port, self._secret, self._durable = port, secret, durable
        self._program = programs.find("redis-server")

    async def prepare(self) -> None:
        """Write its configuration: a password on the command line would show in `ps`."""
        own_folder(self._home, self.account)
        lines = [
            f"bind {HOST}",
            f"port {self._port}",
            f"dir {self._home}",
            f"requirepass {self._secret}",
            "databases 256",  # the tests take one per module
            "set-proc-title no",  # its title would overwrite the mark in its environment
            f"appendonly {'yes' if self._durable else 'no'}",
            'save ""',
        ]
        self._config.write_text("\n".join(lines) + "\n")
        self._config.chmod(0o644)  # its folder is 0700

    @property
    def _config(self) -> Path:
        return self._home / "redis.conf"

    def command(self) -> Sequence[str | Path]:
        """The server with its file."""
        return [self._program, self._config]

    def environment(self) -> Mapping[str, str]:
        """Nothing special."""
        return {}

    async def probe(self) -> None:
        """Log in and ping.

        Raises:
            OSError: Not yet.
        """
        reader, writer = await asyncio.open_connection(HOST, self._port)
        try:
            writer.write(f"AUTH {self._secret}\r\nPING\r\n".encode())
            answers = [await reader.readline(), await reader.readline()]
        finally:
            writer.close()
        if answers != [b"+OK\r\n", b"+PONG\r\n"]:
            raise OSError(f"Redis answered {answers}")

    def settings(self) -> dict[str, str]:
        """Where it is."""
        return {"LEVERET_REDIS_URL": f"redis://:{self._secret}@{HOST}:{self._port}/0"}
