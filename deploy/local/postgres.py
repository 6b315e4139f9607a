"""A private PostgreSQL: TCP on 127.0.0.1 with a password, no socket file."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import asyncpg

from deploy.local import processes, programs
from deploy.local.accounts import account_for, own_folder
from deploy.local.server import HOST, Place, run_once

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from deploy.local.processes import Process

USER = DATABASE = "leveret"


def orphans(place: Place) -> list[Process]:
    """The sessions of a killed postmaster, which live on for a moment and keep a new one from starting.

    Their titles have overwritten the stack's mark in their environment; where they work betrays them.
    """
    return processes.working_in(_data_folder(place), "postgres")


def _data_folder(place: Place) -> Path:
    return place.data / PostgreSQL.name / "data"


class PostgreSQL:
    """PostgreSQL 14 or later. With `durable=False` it skips fsync: tests only."""

    name = "postgresql"
    stop_signal = signal.SIGINT
    """Its "fast" shutdown: sessions are ended, nothing needs recovery."""

    def __init__(self, place: Place, *, port: int, secret: str, durable: bool) -> None:
        self.account = account_for("postgres")
        self._log = place.log(self.name)
        self._home = place.data / self.name
        self._data = _data_folder(place)
        self._port, self._secret, self._durable = port, secret, durable
        self._programs = programs.find_postgres()

    async def prepare(self) -> None:
        """Run initdb once; a folder left half-made by a killed run is made again."""
        own_folder(self._home, self.account)
        self._forget_stale_pid()
        if not self._complete.exists():
            await self._initialise()

    @property
    def _complete(self) -> Path:
        return self._home / "initialised"

    async def _initialise(self) -> None:
        await run_once(["rm", "-rf", self._data], log=self._log, home=self._home, account=self.account)
        password = self._home / "password"
        password.write_text(self._secret)
        password.chmod(0o644)  # its folder is 0700
        await run_once(
            [
                *(self._programs / "initdb", "-D", self._data, "-U", USER, "--pwfile", password),
                *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"),
            ],
            log=self._log,
            home=self._home,
            account=self.account,
        )
        password.unlink()
        self._complete.touch()

    def _forget_stale_pid(self) -> None:
        """Remove a killed postmaster's pid file, which PostgreSQL honours while any process has that pid.

        That can be another program, or a zombie where nobody collects them. Whoever still works on the data
        is not overlooked: `orphans` has them.
        """
        file = self._data / "postmaster.pid"
        if file.exists() and not processes.working_in(self._data, "postgres"):
            file.unlink()

    def command(self) -> Sequence[str | Path]:
        """The postmaster, its settings on the command line: one place to read them."""
        options = {
            "listen_addresses": HOST,
            "port": str(self._port),
            "unix_socket_directories": "",
            "max_connections": "200",
            "shared_buffers": "128MB",
            "fsync": "on" if self._durable else "off",
            "log_line_prefix": "%m [%p] ",
            "timezone": "UTC",
        }
        flags = [part for key, value in options.items() for part in ("-c", f"{key}={value}")]
        return [self._programs / "postgres", "-D", self._data, *flags]

    def environment(self) -> Mapping[str, str]:
        """Nothing special."""
        return {}

    async def probe(self) -> None:
        """Log in and see that the database is there, creating it at the first time.

        Raises:
            OSError: Not yet.
        """
        try:
            connection = await asyncpg.connect(self._dsn("postgres"), timeout=5)
        except (asyncpg.PostgresError, TimeoutError) as error:
            raise OSError(str(error)) from error
        try:
            if not await connection.fetchval("select 1 from pg_database where datname = $1", DATABASE):
                await connection.execute(f"create database {DATABASE}")
        finally:
            await connection.close(timeout=5)

    def _dsn(self, database: str) -> str:
        # It has no TLS: without this every connection would ask for it first, one round trip for a no.
        return f"postgresql://{USER}:{self._secret}@{HOST}:{self._port}/{database}?sslmode=disable"

    def settings(self) -> dict[str, str]:
        """Where its database is."""
        return {"LEVERET_POSTGRES_DSN": self._dsn(DATABASE)}
