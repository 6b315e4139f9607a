"""The same client for programs without an event loop: every call runs the asyncio client on its own thread.

A face; no logic may enter. Signatures and docstrings are the asyncio client's own, minus the `await`.
"""

from __future__ import annotations

import weakref
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

from gateway.client.aio import RECONNECT, AsyncClient
from gateway.client.background import BackgroundLoop
from gateway.client.jobs import AsyncJob
from gateway.client.outputs import AsyncOutput, OutputRecord
from gateway.client.records import JobView

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Coroutine, Iterator, Mapping
    from pathlib import Path

    from gateway.client.jobs import Watcher
    from gateway.client.records import Event
    from gateway.client.retry import RetryPolicy

P = ParamSpec("P")
T = TypeVar("T")


def _plain(
    method: Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Client, P], T]:
    """The method, waited for."""

    @wraps(method)
    def call(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.background.run(method(self.aio, *args, **kwargs))

    return call


def _job(
    method: Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, AsyncJob]],
) -> Callable[Concatenate[Client, P], Job]:
    """The method, waited for, its job with a blocking face."""

    @wraps(method)
    def call(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> Job:
        return Job(self, self.background.run(method(self.aio, *args, **kwargs)))

    return call


class Client:
    """A gateway, its models and its jobs.

        job = Client().submit("cutout", image="face.jpg", priority=7)
        job.wait(progress=True)
        job.outputs["cutout"].save("cutout.png")

    May be used from many threads. Connections go back at `close()`, the end of a `with`, or of the program.

    Args:
        url: The gateway; by default `LEVERET_URL`.
        api_key: The key; by default `LEVERET_API_KEY`.
        timeout_s: Seconds any single request may stay without a byte.
        retry: How long to repeat a request that failed for a passing reason.
        reconnect: How long to go on trying for a lost event stream.

    Raises:
        ConfigError: The URL or the key is missing or malformed.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_s: float = 30.0,
        retry: RetryPolicy | None = None,
        reconnect: RetryPolicy = RECONNECT,
    ) -> None:
        self.aio = AsyncClient(url, api_key, timeout_s=timeout_s, retry=retry, reconnect=reconnect)
        self.background = BackgroundLoop("leveret-client")
        self._finalizer = weakref.finalize(self, _leave, self.background, self.aio)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back and end the thread; safe to repeat."""
        self._finalizer()

    submit = _job(AsyncClient.submit)
    job = _job(AsyncClient.job)
    models = _plain(AsyncClient.models)
    model = _plain(AsyncClient.model)
    retry = _job(AsyncClient.retry)
    jobs = _plain(AsyncClient.jobs)
    attempts = _plain(AsyncClient.attempts)
    logs = _plain(AsyncClient.logs)
    failures = _plain(AsyncClient.failures)
    failure = _plain(AsyncClient.failure)
    queues = _plain(AsyncClient.queues)
    pause_queue = _plain(AsyncClient.pause_queue)
    resume_queue = _plain(AsyncClient.resume_queue)
    keys = _plain(AsyncClient.keys)
    create_key = _plain(AsyncClient.create_key)
    revoke_key = _plain(AsyncClient.revoke_key)
    workers = _plain(AsyncClient.workers)
    drain = _plain(AsyncClient.drain)
    fleets = _plain(AsyncClient.fleets)
    decisions = _plain(AsyncClient.decisions)
    set_fleet = _plain(AsyncClient.set_fleet)
    pause_fleet = _plain(AsyncClient.pause_fleet)
    resume_fleet = _plain(AsyncClient.resume_fleet)
    cost = _plain(AsyncClient.cost)


def _leave(background: BackgroundLoop, aio: AsyncClient) -> None:
    background.stop(aio.close())


class Job(JobView):
    """One job of a `Client`."""

    def __init__(self, client: Client, job: AsyncJob) -> None:
        self._client = client
        self._job = job

    @property
    def raw(self) -> Mapping[str, Any]:
        """The job exactly as the gateway words it, as last heard."""
        return self._job.raw

    @property
    def seq(self) -> int:
        """The cursor: the last state event this object includes."""
        return self._job.seq

    @property
    def outputs(self) -> Mapping[str, Output]:
        """The results by name; empty until the job succeeded."""
        return {name: Output(self._client, output) for name, output in self._job.outputs.items()}

    def events(self, after: int | None = None) -> Iterator[Event]:
        """See `AsyncJob.events`."""
        return self._client.background.iterate(self._job.events(after))

    def wait(
        self, *, progress: bool | Watcher = False, timeout_s: float | None = None, check: bool = True
    ) -> Self:
        """See `AsyncJob.wait`."""
        self._run(self._job.wait(progress=progress, timeout_s=timeout_s, check=False))
        return self.ensure_succeeded() if check else self

    def refresh(self) -> Self:
        """Read the job again from the gateway."""
        self._run(self._job.refresh())
        return self

    def cancel(self) -> Self:
        """See `AsyncJob.cancel`."""
        self._run(self._job.cancel())
        return self

    def logs(self) -> Any:
        """What the algorithm printed, per attempt."""
        return self._run(self._job.logs())

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._client.background.run(coroutine)


class Output(OutputRecord):
    """One output of a job, to read or to save."""

    def __init__(self, client: Client, output: AsyncOutput) -> None:
        super().__init__(output.job_id, output.name, output.raw)
        self._client = client
        self._output = output

    def bytes(self) -> bytes:
        """See `AsyncOutput.bytes`."""
        return self._client.background.run(self._output.bytes())

    def save(self, path: str | os.PathLike[str]) -> Path:
        """See `AsyncOutput.save`."""
        return self._client.background.run(self._output.save(path))
