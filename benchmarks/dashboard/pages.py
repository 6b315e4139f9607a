"""A dashboard that is open: the socket of a browser's page, and what it asks for as jobs come."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Self

from websockets.asyncio.client import ClientConnection, connect

if TYPE_CHECKING:
    from types import TracebackType

    from benchmarks.dashboard.jobs import Jobs

TURN_S = 2.0
"""A page that follows the newest jobs asks for them anew so often: more than anybody clicks."""
TOPICS = ["overview", "jobs", "queues", "workers", "scaler"]


class Page:
    """Watches everything at once, which no single page does.

    Attributes:
        frames: How many it was sent.
        bytes: How much.
    """

    def __init__(self, url: str, key: str, jobs: Jobs) -> None:
        self._url = url.replace("http", "ws", 1) + "/v1/live"
        self._key = key
        self._jobs = jobs
        self._stack = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self.frames = self.bytes = 0

    async def __aenter__(self) -> Self:
        opened = connect(self._url, additional_headers={"X-API-Key": self._key}, max_size=None)
        socket = await self._stack.enter_async_context(opened)
        self._tasks = [asyncio.create_task(self._ask(socket)), asyncio.create_task(self._read(socket))]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()

    async def _ask(self, socket: ClientConnection) -> None:
        while True:
            wish = {"subscribe": TOPICS, "ids": [str(id_) for id_ in self._jobs.latest]}
            await socket.send(json.dumps(wish))
            await asyncio.sleep(TURN_S)

    async def _read(self, socket: ClientConnection) -> None:
        while True:
            told = await socket.recv()
            self.frames += 1
            self.bytes += len(told)
