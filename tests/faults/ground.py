"""The servers of the fault tests: their own, behind proxies and wires, to be killed and cut off.

They live on a thread with its own event loop: the processes under test talk through it also while a fixture
or a test blocks the test's loop.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from deploy.local import programs
from deploy.local.server import base_environment
from tests.chaos.proxy import FaultProxy, Weather
from tests.chaos.servers import VARIABLES, Servers
from tests.faults.wire import Loss, Trap, Wire

T = TypeVar("T")
START_S = 120
WIRED = ("postgresql", "rabbitmq")


class Ground:
    """Four servers under one folder; servers are named as in deploy/local.

    Attributes:
        direct: The `LEVERET_` variables that point at the servers themselves: for the tests' own eyes.
        settings: As the product sees them: all through a proxy, PostgreSQL and RabbitMQ through a wire too.
    """

    def __init__(self, folder: Path) -> None:
        self._servers = Servers(folder)
        self._folder = folder
        self._wires: dict[str, Wire] = {name: Wire() for name in WIRED}
        self._more: list[Wire] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.direct: dict[str, str] = {}
        self.settings: dict[str, str] = {}

    def start(self) -> None:
        self._thread.start()
        self._wait(self._start())

    def stop(self) -> None:
        self._wait(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """End a server by this signal; returns when nothing of it is left."""
        await self._there(self._servers.kill(name, number))

    async def restart(self, name: str) -> None:
        """Start a server that was killed; returns when it serves."""
        await self._there(self._servers.restart(name))

    def wipe(self, name: str) -> None:
        """Remove the data of a server that was killed."""
        self._servers.wipe(name)

    async def change(self, name: str, weather: Weather) -> None:
        """From now on the network in front of this server is like this."""
        await self._call(lambda: self.proxy(name).change(weather))

    async def cut(self, name: str) -> int:
        """Reset every connection to this server; how many there were."""
        return await self._call(self.proxy(name).cut_all)

    async def calm(self) -> None:
        """Fine weather everywhere, and no traps."""
        await self._call(self._calm)

    def proxy(self, name: str) -> FaultProxy:
        """The proxy itself, to look at; change it through `change`."""
        return self._servers.proxies[name]

    async def lose_answer(self, name: str, needle: bytes, loss: Loss = "reset", *, times: int = 1) -> Trap:
        """Let the next requests that say this through to the server, and lose the answers."""
        return await self._call(lambda: self._wires[name].lose_answer(needle, loss, times=times))

    def tried(self, name: str) -> int:
        """Connections that the product began to make to this server so far."""
        return self._wires[name].tried

    async def settings_at(self, address: str) -> dict[str, str]:
        """The settings for a process that reaches this machine at another address than 127.0.0.1."""
        return {**self.settings, **await self._there(self._open_at(address))}

    async def rabbitmqctl(self, *words: str) -> str:
        """What the broker's own tool prints."""
        return await asyncio.to_thread(self._rabbitmqctl, words)

    def _rabbitmqctl(self, words: tuple[str, ...]) -> str:
        server = self._servers._known["rabbitmq"]
        home = self._servers._private.place.data / "rabbitmq"
        done = subprocess.run(
            [programs.find_rabbitmq().with_name("rabbitmqctl"), "--quiet", *words],
            check=True,
            timeout=60,
            env={**base_environment(home), **server.environment()},
            user=server.account,
            cwd="/",
            capture_output=True,
            text=True,
        )
        return done.stdout

    async def _start(self) -> None:
        await self._servers.start("faults")
        self.direct = dict(self._servers.direct)
        self.settings = dict(self._servers.settings)
        for name, wire in self._wires.items():
            variable = VARIABLES[name]
            self.settings[variable] = await wire.open(self.settings[variable])

    async def _open_at(self, address: str) -> dict[str, str]:
        opened = {}
        for variable in VARIABLES.values():
            wire = Wire(address)
            self._more.append(wire)
            opened[variable] = await wire.open(self.settings[variable])
        return opened

    async def _stop(self) -> None:
        for wire in [*self._wires.values(), *self._more]:
            await wire.close()
        await self._servers.stop()

    def _calm(self) -> None:
        self._servers.calm()
        for wire in self._wires.values():
            wire.calm()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(START_S)

    async def _there(self, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    async def _call(self, call: Callable[[], T]) -> T:
        async def work() -> T:
            return call()

        return await self._there(work())
