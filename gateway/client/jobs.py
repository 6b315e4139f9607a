"""A job in the hands of its submitter: follow it, wait for it, cancel it, read its outputs. asyncio only."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, aclosing, nullcontext
from typing import TYPE_CHECKING

from gateway.client.errors import WaitTimeoutError
from gateway.client.outputs import AsyncOutput
from gateway.client.progress import ProgressLine
from gateway.client.records import JobRecord
from gateway.client.retry import Patience

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping
    from contextlib import AbstractContextManager
    from typing import Any, Self

    from gateway.client.aio import AsyncClient
    from gateway.client.records import Event

    Watcher = Callable[[Event], object]


class AsyncJob(JobRecord):
    """One job of an `AsyncClient`."""

    def __init__(self, client: AsyncClient, raw: Mapping[str, Any], seq: int = 0) -> None:
        super().__init__(raw, seq)
        self._client = client

    @property
    def outputs(self) -> Mapping[str, AsyncOutput]:
        """The results by name; empty until the job succeeded."""
        transport = self._client.transport
        made = self.raw.get("outputs") or {}
        return {name: AsyncOutput(transport, self.id, name, raw) for name, raw in made.items()}

    async def events(self, after: int | None = None) -> AsyncGenerator[Event, None]:
        """Every event of this job as it is pushed, each once, up to the terminal one.

        Comes back by itself after a lost connection. The job's own fields keep up with what is yielded.

        Args:
            after: The cursor to start behind: 0 for the whole history, by default where this object stands.

        Raises:
            ApiError: The gateway refused the stream.
            UnreachableError: The connection stayed away for longer than the client's patience.
        """
        async with aclosing(self._client.follow(self.id, self.seq if after is None else after)) as events:
            async for event in events:
                self.apply(event)
                yield event

    async def wait(
        self, *, progress: bool | Watcher = False, timeout_s: float | None = None, check: bool = True
    ) -> Self:
        """Wait until the job ended, by pushed events.

        Args:
            progress: Draw a progress bar on a terminal's stderr, or a function to call with each event.
            timeout_s: Seconds after which to stop waiting; the job goes on.
            check: Raise when the job did not succeed; else only return.

        Returns:
            This job.

        Raises:
            JobFailed: The job failed; `code` says why.
            JobCanceled: It was canceled.
            JobExpired: It was not started in time.
            WaitTimeoutError: `timeout_s` passed.
            ApiError: The gateway refused the stream.
            UnreachableError: The connection stayed away for longer than the client's patience.
        """
        with ExitStack() as stack:
            watch = stack.enter_context(self._watcher(progress))
            limit = asyncio.timeout(timeout_s)
            try:
                async with limit:
                    await self._follow_to_the_end(watch)
            except TimeoutError as error:
                if not limit.expired():
                    raise
                raise WaitTimeoutError(
                    f"job {self.id} is still {self.state} after {timeout_s:g} s"
                ) from error
        return self.ensure_succeeded() if check else self

    async def refresh(self) -> Self:
        """Read the job again from the gateway."""
        self.replace(await self._client.read_job(self.id))
        return self

    async def cancel(self) -> Self:
        """Ask for the end of the job; a running one ends a moment later.

        Raises:
            ApiError: 409 where it has already ended.
        """
        self.replace(await self._client.post(f"/v1/jobs/{self.id}/cancel"))
        return self

    async def logs(self) -> Any:
        """What the algorithm printed, per attempt."""
        return await self._client.logs(self.id)

    def _watcher(self, progress: bool | Watcher) -> AbstractContextManager[Watcher | None]:  # noqa: FBT001  private
        if progress is True:
            return ProgressLine(self)
        return nullcontext(progress or None)

    async def _follow_to_the_end(self, watch: Watcher | None) -> None:
        patience = Patience(self._client.reconnect)
        while not self.done:
            async with aclosing(self.events()) as events:
                async for event in events:
                    patience.restore()
                    if watch:
                        watch(event)
            # A stream that ended well without a terminal event had none to tell after the cursor.
            if not self.done and not (await self.refresh()).done:
                await asyncio.sleep(patience.spend() or self._client.reconnect.cap_s)
