"""A private RabbitMQ: its own node, Erlang port mapper, cookie, configuration and data."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import signal
from typing import TYPE_CHECKING, Any

from deploy.local import programs
from deploy.local.accounts import account_for, own_folder
from deploy.local.server import HOST, Place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

USER = "leveret"
LONGEST_JOB_S = 24 * 3600
"""A message stays unacknowledged as long as its job runs; RabbitMQ's own limit must lie above that."""
HELLO = b"AMQP\x00\x00\x09\x01"


class PortMapper:
    """Erlang's epmd in the foreground: the one RabbitMQ would start itself outlives it unseen."""

    name = "epmd"
    stop_signal = signal.SIGTERM

    def __init__(self, *, port: int) -> None:
        self.account = account_for("rabbitmq")
        self._port = port
        self._program = programs.find_epmd()

    async def prepare(self) -> None:
        """Nothing to prepare."""

    def command(self) -> Sequence[str | Path]:
        """Listening on this machine only."""
        return [self._program, "-port", str(self._port), "-address", HOST]

    def environment(self) -> Mapping[str, str]:
        """Nothing special."""
        return {}

    async def probe(self) -> None:
        """Connect."""
        await _connect(self._port)

    def settings(self) -> dict[str, str]:
        """No process of ours talks to it."""
        return {}


class RabbitMQ:
    """RabbitMQ 3.10 or later, without the management plugin."""

    name = "rabbitmq"
    stop_signal = signal.SIGTERM

    def __init__(
        self, place: Place, *, ports: tuple[int, int, int], secret: str, vhosts: Sequence[str]
    ) -> None:
        self.account = account_for("rabbitmq")
        self._home = place.data / self.name
        self._port, self._peer_port, self._mapper_port = ports
        self._secret, self._vhosts = secret, vhosts
        self._node = "leveret-" + hashlib.sha256(str(place.folder).encode()).hexdigest()[:8]
        self._program = programs.find_rabbitmq()

    async def prepare(self) -> None:
        """Write its files, then wait for the port mapper, which must be there first."""
        own_folder(self._home, self.account)
        self._write("rabbitmq.conf", self._configuration())
        self._write("definitions.json", json.dumps(self._definitions()))
        self._write("plugins", "[].\n")
        self._write("resolver", '{host, {127,0,0,1}, ["localhost"]}.\n{lookup, [file, native]}.\n')
        await _connect_soon(self._mapper_port)

    def _write(self, name: str, text: str) -> None:
        file = self._home / name
        file.write_text(text)
        file.chmod(0o644)  # its folder is 0700

    def _configuration(self) -> str:
        lines = [
            f"listeners.tcp.1 = {HOST}:{self._port}",
            f"consumer_timeout = {(LONGEST_JOB_S + 3600) * 1000}",
            f"load_definitions = {self._home / 'definitions.json'}",
            "log.console = true",
            "log.console.level = info",
            "log.file = false",
        ]
        return "\n".join(lines) + "\n"

    def _definitions(self) -> dict[str, Any]:
        names = ["/", *self._vhosts]
        return {
            "users": [{"name": USER, "password_hash": _hashed(self._secret), "tags": "administrator"}],
            "vhosts": [{"name": name} for name in names],
            "permissions": [
                {"user": USER, "vhost": name, "configure": ".*", "write": ".*", "read": ".*"}
                for name in names
            ],
        }

    def command(self) -> Sequence[str | Path]:
        """Its start script."""
        return [self._program]

    def environment(self) -> Mapping[str, str]:
        """Everything that would otherwise be shared with another RabbitMQ of this machine."""
        return {
            "RABBITMQ_NODENAME": f"{self._node}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": HOST,
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(self._peer_port),
            "ERL_EPMD_PORT": str(self._mapper_port),
            "ERL_EPMD_ADDRESS": HOST,
            "ERL_INETRC": str(self._home / "resolver"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_CONFIG_FILE": str(self._home / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self._home / "advanced.config"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(self._home / "generated"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._home / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(self._home / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self._home),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(self._home / "pid"),
            "RUNNING_UNDER_SYSTEMD": "true",  # its script then becomes the Erlang VM, not its parent
        }

    async def probe(self) -> None:
        """Begin an AMQP conversation: the port opens last, but the first frame proves it.

        Raises:
            OSError: Not yet.
        """
        reader, writer = await asyncio.open_connection(HOST, self._port)
        try:
            writer.write(HELLO)
            if await reader.read(1) != b"\x01":
                raise OSError("RabbitMQ closed the connection")
        finally:
            writer.close()

    def settings(self) -> dict[str, str]:
        """Where its default virtual host is."""
        return {"LEVERET_RABBITMQ_URL": f"amqp://{USER}:{self._secret}@{HOST}:{self._port}/"}


def _hashed(password: str) -> str:
    salt = os.urandom(4)  # RabbitMQ's format: base64 of salt + SHA-256 of salt and password
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


async def _connect(port: int) -> None:
    _, writer = await asyncio.open_connection(HOST, port)
    writer.close()


async def _connect_soon(port: int) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                return await _connect(port)
            except OSError:
                await asyncio.sleep(0.1)
