"""The network between a process and a server: a call is two hops, and everything can happen on the way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from shared.errors import LeveretError, Unavailable

T = TypeVar("T")

Fault = Literal["refused", "lost", "landed", "late"]
"""What becomes of one call: the server says no; the call is lost; its answer is lost; the call was given up
and lands a moment later."""
LATE_S = 0.3


@dataclass
class Server:
    """One of the servers, as the network shows it.

    Attributes:
        away: Nobody reaches it.
        faults: Of the next calls, in order.
        traps: By the name of a call, the faults that its next ones meet.
        latency_s: Of each hop.
        session: Connections of earlier sessions are dead.
    """

    name: str
    away: bool = False
    faults: list[Fault] = field(default_factory=list)
    traps: dict[str, list[Fault]] = field(default_factory=dict)
    latency_s: float = 0.0
    session: int = 0

    def leave(self) -> None:
        self.away = True
        self.session += 1

    def heal(self) -> None:
        self.away, self.latency_s = False, 0.0
        self.faults.clear()
        self.traps.clear()

    def next_fault(self, call: str) -> Fault | None:
        """What becomes of this call; None: nothing bad."""
        faults = self.traps.get(call) or self.faults
        return faults.pop(0) if faults else None


class Process:
    """A gateway or a worker: it can be killed, paused and cut off."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead = False
        self.cut = False
        self.running = asyncio.Event()
        self.running.set()
        self.tasks: list[asyncio.Task[Any]] = []
        self.disturbed_at = float("-inf")
        self.refused_at = float("-inf")

    def untroubled_since(self, moment: float) -> bool:
        """Whether it has lived, and all that it asked of a server was answered, from that moment on."""
        lives = self.running.is_set() and not (self.dead or self.cut)
        return lives and max(self.disturbed_at, self.refused_at) < moment

    def kill(self) -> None:
        """Nothing that it says from now on reaches anybody."""
        self.dead = True
        for task in self.tasks:
            task.cancel()


class Link:
    """One process's way to one server."""

    def __init__(self, process: Process, server: Server) -> None:
        self.process = process
        self.server = server

    async def call(self, effect: Callable[[], T], *, lost: type[LeveretError], name: str = "") -> T:
        """Run `effect` on the server, unless the network has other plans.

        Raises:
            Unavailable: Nothing happened.
            LeveretError: `lost`: nobody knows.
        """
        try:
            return await self._call(effect, lost, name)
        except (Unavailable, lost):
            self.process.refused_at = asyncio.get_running_loop().time()
            raise

    async def _call(self, effect: Callable[[], T], lost: type[LeveretError], name: str) -> T:
        await self.hop()
        if self.server.away:
            raise Unavailable(f"{self.server.name} is away")
        if self.process.cut:
            raise self._disturbed(Unavailable)
        session = self.server.session
        fault = self.server.next_fault(name)
        if fault == "refused":
            raise self._disturbed(Unavailable)
        if fault == "late":
            asyncio.get_running_loop().call_later(LATE_S, self._land, effect, session)
        if fault in {"lost", "late"}:
            raise self._disturbed(lost)
        result = effect()
        await self.hop()
        if self.server.session != session:
            raise lost(f"{self.server.name} left before it answered")
        if fault == "landed" or self.process.cut:
            raise self._disturbed(lost)
        return result

    async def hop(self) -> None:
        """Cross the wire once; a killed process never gets there."""
        await asyncio.sleep(self.server.latency_s)
        while not self.process.running.is_set():
            await self.process.running.wait()
        if self.process.dead and (task := asyncio.current_task()):
            task.cancel()
            await asyncio.sleep(0)

    def _land(self, effect: Callable[[], Any], session: int) -> None:
        if not self.server.away and self.server.session == session:
            with contextlib.suppress(LeveretError):  # nobody hears the answer
                effect()

    def _disturbed(self, error: type[LeveretError]) -> LeveretError:
        """This process alone was troubled, and not all that use the server."""
        self.process.disturbed_at = asyncio.get_running_loop().time()
        return error(f"{self.server.name} did not answer {self.process.name}")


class Remote:
    """A store as one process reaches it: every method is a call on the wire.

    Args:
        link: The wire.
        store: Its methods return at once.
        lost: Which error a lost answer is, by method.
    """

    def __init__(self, link: Link, store: Any, lost: Callable[[str], type[LeveretError]]) -> None:
        self._link = link
        self._store = store
        self._lost = lost

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self._store, name)

        async def call(*values: Any, **named: Any) -> Any:
            return await self._link.call(lambda: method(*values, **named), lost=self._lost(name), name=name)

        return call
