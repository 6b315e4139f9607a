"""Private servers, all started at once: for the one-command stack and, tied to the caller, for tests."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.local import envfile, processes
from deploy.local.accounts import data_root, make_root
from deploy.local.failure import NotReadyError
from deploy.local.postgres import PostgreSQL, orphans
from deploy.local.processes import Process
from deploy.local.progress import Progress
from deploy.local.rabbitmq import PortMapper, RabbitMQ
from deploy.local.redis import Redis
from deploy.local.seaweedfs import PORTS as SEAWEEDFS_PORTS
from deploy.local.seaweedfs import SeaweedFS
from deploy.local.server import Place, Server, base_environment
from deploy.local.state import State
from deploy.local.together import together

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping, Sequence

READY_S = 90
PROBE_S = 5
STOP_S = 20


class PrivateServers:
    """PostgreSQL, RabbitMQ, Redis and SeaweedFS on free ports under one folder.

    `async with PrivateServers(folder) as settings:` gives the `LEVERET_` variables that point at them and
    stops them at the end; `start()` alone leaves them running for a later `stop()`, from any process.

    Args:
        folder: State, logs and (where the servers' accounts can reach it) data.
        own: `LEVERET_` variables of servers the user runs; those are used instead of private ones.
        progress: Where progress is printed.
        tied: End the servers when this process dies: for tests.
        durable: Keep fsync on; by default only where the servers are not tied.
        vhosts: More virtual hosts for RabbitMQ.
    """

    def __init__(
        self,
        folder: Path,
        *,
        own: Mapping[str, str] | None = None,
        progress: Progress | None = None,
        tied: bool = False,
        durable: bool | None = None,
        vhosts: Sequence[str] = (),
    ) -> None:
        folder = folder.resolve()
        self.place = Place(folder, data_root(folder) if folder.exists() else folder / "data")
        self._own = dict(own or {})
        self._progress = progress or Progress(quiet=True)
        self._tied, self._vhosts = tied, vhosts
        self._durable = not tied if durable is None else durable
        self._children: list[subprocess.Popen[bytes]] = []
        self.state = State.load(folder / "state.json")

    async def __aenter__(self) -> dict[str, str]:
        try:
            return await self.start()
        except BaseException:
            await self.stop()
            raise

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> dict[str, str]:
        """Start all servers in parallel and wait until each serves; returns their settings.

        Raises:
            StackError: A program is missing, or a server did not come up; what did start still runs.
        """
        self._make_folders()
        servers = self._servers()
        await together(*map(self._start, servers))
        return self.settings(servers)

    def _make_folders(self) -> None:
        self.place.folder.mkdir(parents=True, exist_ok=True)
        self.place = Place(self.place.folder, data_root(self.place.folder))
        make_root(self.place.data)
        self.place.logs.mkdir(exist_ok=True)
        shutil.rmtree(self.place.scratch, ignore_errors=True)
        self.place.scratch.mkdir()
        self.state = State.load(self.state.file)

    def _secret(self) -> str:
        """The servers' password. It lies with their data: PostgreSQL keeps what it was initialised with."""
        file = self.place.data / "secret"
        if not file.exists():
            envfile.replace(file, secrets.token_hex(16))
        return file.read_text()

    def _servers(self, *, keep: bool = False) -> list[Server]:
        """The servers the user does not run himself.

        Args:
            keep: On the ports they had, whoever holds those now.

        Raises:
            MissingProgramError: One is not installed.
        """
        state, place, secret, wanted = self.state, self.place, self._secret(), list[Server]()
        if "LEVERET_POSTGRES_DSN" not in self._own:
            (port,) = state.ports_for("postgresql", 1, keep=keep)
            wanted.append(PostgreSQL(place, port=port, secret=secret, durable=self._durable))
        if "LEVERET_RABBITMQ_URL" not in self._own:
            port, peer, mapper = state.ports_for("rabbitmq", 3, keep=keep)
            wanted.append(PortMapper(port=mapper))
            wanted.append(RabbitMQ(place, ports=(port, peer, mapper), secret=secret, vhosts=self._vhosts))
        if "LEVERET_REDIS_URL" not in self._own:
            (port,) = state.ports_for("redis", 1, keep=keep)
            wanted.append(Redis(place, port=port, secret=secret, durable=self._durable))
        if "LEVERET_S3_ENDPOINT" not in self._own:
            ports = state.ports_for("seaweedfs", SEAWEEDFS_PORTS, keep=keep)
            wanted.append(SeaweedFS(place, ports=ports, secret=secret))
        return wanted

    def settings(self, servers: Sequence[Server]) -> dict[str, str]:
        """The variables of private and of the user's own servers."""
        merged = dict(self._own)
        for server in servers:
            merged.update(server.settings())
        return merged

    async def _start(self, server: Server) -> None:
        began = time.monotonic()
        log = self.place.fresh_log(server.name)
        await server.prepare()
        home = self.place.data / server.name
        child = processes.spawn(
            server.command(),
            folder=self.place.folder,
            log=log,
            env={**base_environment(home), **server.environment()},
            user=server.account,
            tied=self._tied,
        )
        self._children.append(child)
        if process := Process.of(child.pid):
            self.state.started(server.name, process)
        await self._until_ready(server, child)
        self._progress.say(f"{server.name} is ready ({time.monotonic() - began:.1f} s)")

    async def _until_ready(self, server: Server, child: subprocess.Popen[bytes]) -> None:
        log = self.place.log(server.name)
        until = time.monotonic() + READY_S
        while not await _serves(server):
            if child.poll() is not None:
                raise NotReadyError(f"{server.name} ended at start (exit status {child.returncode})", log)
            if time.monotonic() > until:
                raise NotReadyError(f"{server.name} was not ready within {READY_S} s", log)
            await asyncio.sleep(0.1)

    async def healthy(self) -> bool:
        """Do all servers of the state file run and serve?"""
        self.state = State.load(self.state.file)
        if not self.place.data.exists():
            return False
        servers = self._servers(keep=True)
        if not all(self.state.runs(server.name) for server in servers):
            return False
        return all(await asyncio.gather(*map(_serves, servers)))

    async def mend(self) -> dict[str, str]:
        """Start again the servers that do not serve, where they were, and leave the others; returns settings.

        Raises:
            StackError: One did not come back.
        """
        self.state = State.load(self.state.file)
        servers = self._servers(keep=True)
        await together(*map(self._mend, servers))
        return self.settings(servers)

    async def _mend(self, server: Server) -> None:
        process = self.state.processes.get(server.name)
        if process is not None and process.alive() and await _serves(server):
            return
        self._progress.say(f"{server.name} is away: starting it again")
        if process is not None:
            await _stop((server.name, process))
        if server.name == PostgreSQL.name:
            await processes.stop(orphans(self.place), deadline_s=STOP_S)
        await self._start(server)

    async def stop(self) -> None:
        """Stop every process of this folder and wait until all are gone."""
        if self.place.folder.exists():
            await self._stop_all()
        for child in self._children:
            child.wait(timeout=STOP_S)
        self._children.clear()

    async def _stop_all(self) -> None:
        self.state = State.load(self.state.file)
        everything = set(processes.family(self.place.folder))
        await asyncio.gather(*map(_stop, self.state.processes.items()))
        everything |= {*processes.family(self.place.folder), *orphans(self.place)}
        await processes.stop(everything, deadline_s=STOP_S)
        self.state.forget_processes()

    def remove_data(self) -> None:
        """Remove everything the stack wrote; only after `stop()`."""
        for place in (self.place.data, self.place.folder):
            if place.exists():
                shutil.rmtree(place)


async def _serves(server: Server) -> bool:
    try:
        async with asyncio.timeout(PROBE_S):
            await server.probe()
    except (OSError, TimeoutError):
        return False
    return True


async def _stop(named: tuple[str, Process]) -> None:
    name, process = named
    first = PostgreSQL.stop_signal if name == PostgreSQL.name else signal.SIGTERM
    # SeaweedFS waits up to ten seconds for idle connections; what it holds is on disk long before.
    patience_s = 4 if name == SeaweedFS.name else STOP_S
    await processes.stop([process], deadline_s=patience_s, first=first)
