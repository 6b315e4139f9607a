"""uvicorn inside a process that has a lifecycle of its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn


class EmbeddedServer(uvicorn.Server):
    """A server that leaves signals to the lifecycle and closes in good order when its task is cancelled."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield

    async def serve_until_cancelled(self, listener: socket.socket) -> None:
        """Serve on `listener`; on cancellation finish the requests in flight first."""
        serving = asyncio.create_task(self.serve([listener]), name="uvicorn")
        try:
            await asyncio.shield(serving)
        finally:
            self.should_exit = True
            await serving
