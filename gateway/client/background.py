"""An event loop on a thread of its own, for programs that have none. Standard library only."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine, Iterator
    from typing import Any

T = TypeVar("T")


class BackgroundLoop:
    """Runs coroutines for threads that block on their results."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The coroutine's result; Ctrl-C here cancels it there.

        Raises:
            RuntimeError: The loop was stopped, or the caller is on it and would wait for itself.
        """
        if problem := self._unfit():
            coroutine.close()
            raise RuntimeError(problem)
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        finally:
            future.cancel()

    def _unfit(self) -> str | None:
        if self._loop.is_closed():
            return "this client is closed"
        if threading.current_thread() is self._thread:
            return "a progress function cannot call the client it reports for"
        return None

    def iterate(self, items: AsyncGenerator[T, None]) -> Iterator[T]:
        """The generator's items, one by one, as asked for."""
        try:
            while (item := self.run(_next_of(items))) is not None:
                yield item
        finally:
            # Not waited for: a generator that is dropped may be collected on any thread, the loop's own too.
            if not self._loop.is_closed():
                asyncio.run_coroutine_threadsafe(_close(items), self._loop)

    def stop(self, farewell: Coroutine[Any, Any, None]) -> None:
        """End what runs, then run a last coroutine and end the thread; safe from any thread."""
        asyncio.run_coroutine_threadsafe(self._leave(farewell), self._loop)
        # A garbage collection may run this on the loop's own thread, which cannot wait for itself.
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=10)

    async def _leave(self, farewell: Coroutine[Any, Any, None]) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        # Their threads wait for them; a loop that only stopped would leave them waiting for ever.
        await asyncio.gather(*others, return_exceptions=True)
        try:
            await farewell
        finally:
            self._loop.stop()


async def _next_of(items: AsyncGenerator[T, None]) -> T | None:
    return await anext(items, None)


async def _close(items: AsyncGenerator[Any, None]) -> None:
    await items.aclose()
