"""Who empties a queue: Leveret and its peers behind one small protocol, each with one worker."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import redis.asyncio

from benchmarks import running
from benchmarks.load import UnexpectedAnswerError
from deploy.local.applications import run_module

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from benchmarks.engine.leveret import MeasuredLeveret
    from benchmarks.load import Request
    from benchmarks.running import Running

CELERY, TASKIQ, DRAMATIQ, BY_HAND = "peer", "taskiq", "dramatiq", "by-hand"
DATABASES = {CELERY: 1, TASKIQ: 2, DRAMATIQ: 3, BY_HAND: 4}
"""Each peer has a virtual host of this name, and a database of Redis to itself."""


class Contender(Protocol):
    """One worker, and how its queue is filled."""

    name: str
    results: str
    """The Redis database in which every job that has ended leaves one key."""

    async def fill(self, count: int) -> None:
        """Queue so many jobs, while no worker runs."""

    async def start(self) -> None:
        """Start the worker."""

    async def stop(self) -> None:
        """Let it end by itself."""

    async def check(self, results: redis.asyncio.Redis) -> None:
        """Make sure that the jobs of the last fill have succeeded, not only ended."""

    @property
    def worker(self) -> Running:
        """The process that was started."""


@dataclass(slots=True)
class LeveretContender:
    """A worker of Leveret's on one queue.

    Attributes:
        queue: Its name, and that of the one model on it.
        extra: `LEVERET_` variables of this worker alone.
        job_ids: Of the last fill.
    """

    name: str
    side: MeasuredLeveret
    queue: str
    slots: int
    job: Request
    results: str
    extra: Mapping[str, str] = field(default_factory=dict)
    job_ids: list[str] = field(default_factory=list)

    async def fill(self, count: int) -> None:
        """Submit over HTTP, as clients do."""
        self.job_ids = await self.side.enqueue(self.job, count)

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        await self.side.start_worker(self.slots, self.queue, self.extra)

    async def stop(self) -> None:
        """Drain it."""
        await self.side.stop_worker()

    async def check(self, results: redis.asyncio.Redis) -> None:  # noqa: ARG002  the rows are the truth
        """Ask the rows.

        Raises:
            UnexpectedAnswerError: One did not succeed.
        """
        succeeded = (await self.side.finished(self.job_ids)).count
        if succeeded != len(self.job_ids):
            raise UnexpectedAnswerError(f"{self.name}: {succeeded} of {len(self.job_ids)} jobs succeeded")

    @property
    def worker(self) -> Running:
        """`python -m gpu_worker`."""
        return self.side.worker


@dataclass(slots=True)
class Peer:
    """A peer's worker, started by its own command.

    Attributes:
        kind: The virtual host, which says whose broker and results these are.
        command: The module and its arguments.
        variables: The environment's `BENCH_PEER_` variables and the peer's own.
        fills: The arguments of `benchmarks.engine.peers.fill` before and after the count.
        success: What the stored result of a job that succeeded holds; nothing where only those are stored.
    """

    name: str
    kind: str
    folder: Path
    command: tuple[str, ...]
    variables: Mapping[str, str]
    fills: tuple[str, tuple[str, ...]]
    results: str
    success: bytes = b""
    _worker: Running | None = None

    async def fill(self, count: int) -> None:
        """In a process of its own, by the peer's own client."""
        whose, rest = self.fills
        module = ("benchmarks.engine.peers.fill", whose, str(count), *rest)
        await run_module(
            *module, variables=self.variables, log=self.folder / "logs" / f"{self.kind}-fill.log"
        )

    async def start(self) -> None:
        """Start it; that it consumes is seen by its results."""
        self._worker = running.start(self.folder, self.kind, *self.command, variables=self.variables)

    async def stop(self) -> None:
        """Its warm shutdown."""
        if self._worker is not None:
            await self._worker.stop()
        self._worker = None

    async def check(self, results: redis.asyncio.Redis) -> None:
        """Look at one of the results: what fails here fails for all.

        Raises:
            UnexpectedAnswerError: It tells of a failure.
        """
        key = await results.randomkey()
        stored = await results.get(key) if key and self.success else b""
        if not isinstance(stored, bytes) or self.success not in stored:
            raise UnexpectedAnswerError(f"{self.name}: {stored!r}")

    @property
    def worker(self) -> Running:
        """The process that its command started."""
        assert self._worker is not None
        return self._worker


def results_of(kind: str, settings: Mapping[str, str]) -> str:
    """A peer's own database of Redis."""
    return settings["LEVERET_REDIS_URL"].removesuffix("/0") + f"/{DATABASES[kind]}"


def variables_of(kind: str, settings: Mapping[str, str], in_hand: int) -> dict[str, str]:
    """What a peer's processes are told."""
    s3 = {
        name.replace("LEVERET_", "BENCH_PEER_"): value
        for name, value in settings.items()
        if name.startswith("LEVERET_S3_")
    }
    return s3 | {
        "BENCH_PEER_BROKER": settings["LEVERET_RABBITMQ_URL"] + kind,
        "BENCH_PEER_POSTGRES": settings["LEVERET_POSTGRES_DSN"],
        "BENCH_PEER_RESULTS": results_of(kind, settings),
        "BENCH_PEER_IN_HAND": str(in_hand),
        "dramatiq_queue_prefetch": str(in_hand),
    }
