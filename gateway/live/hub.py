"""Looks for what somebody watches, once for all who do, and at nothing when nobody does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Protocol

import structlog
from prometheus_client import Histogram

from gateway.live.viewer import Rows, Viewer, Wish
from shared.errors import OutcomeUnknown, Unavailable
from shared.lifecycle import watched

log = structlog.get_logger()

REST = 9.0
"""After a look so many times its length passes: looking takes a tenth of the time at most."""

LOOKS = Histogram(
    "leveret_gateway_live_look_seconds",
    "Time of one look for all pages that watch a topic",
    ["topic"],
    buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 2, 10),
)


class Source(Protocol):
    """Reads one topic's rows."""

    @property
    def period_s(self) -> float:
        """Between two looks, at least."""

    async def look(self, viewers: Collection[Viewer]) -> Rows:
        """The rows as they are now; raises Unavailable."""


Sources = Mapping[str, Callable[[str | None], Source]]
"""By topic what makes its source, for one tenant or (None) for all."""


class Hub:
    """One per gateway.

    Args:
        sources: Where the rows come from.
    """

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._viewers: set[Viewer] = set()
        self._samplers: dict[tuple[str, str | None], _Sampler] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._draining = False

    async def run(self) -> None:
        """Look, for ever."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self._settle()
            await asyncio.Event().wait()

    def drain(self) -> None:
        """End every viewer: pages come back, to another gateway if there is one."""
        self._draining = True
        for viewer in self._viewers:
            viewer.end()

    @contextmanager
    def watched_by(self, viewer: Viewer) -> Iterator[None]:
        """Look for this viewer as well."""
        self._viewers.add(viewer)
        if self._draining:
            viewer.end()
        try:
            yield
        finally:
            self._viewers.discard(viewer)
            self._settle()

    def ask(self, viewer: Viewer, wish: Wish) -> None:
        """Let a viewer see something else from now on."""
        viewer.ask(wish)
        self._settle()
        for topic in viewer.wish.topics:
            if sampler := self._samplers.get((topic, viewer.scope(topic))):
                sampler.greet(viewer)

    def _settle(self) -> None:
        """Watch what is wanted, and nothing else."""
        wanted: dict[tuple[str, str | None], set[Viewer]] = {}
        for viewer in self._viewers:
            for topic in viewer.wish.topics:
                wanted.setdefault((topic, viewer.scope(topic)), set()).add(viewer)
        for key in self._samplers.keys() - wanted.keys():
            self._samplers.pop(key).stop()
        for key, viewers in wanted.items():
            self._sampler(key).viewers = viewers

    def _sampler(self, key: tuple[str, str | None]) -> _Sampler:
        if key not in self._samplers:
            topic, scope = key
            self._samplers[key] = _Sampler(topic, self._sources[topic](scope))
        sampler = self._samplers[key]
        if self._tasks is not None:
            sampler.start(self._tasks)
        return sampler


class _Sampler:
    """One topic of one scope."""

    def __init__(self, topic: str, source: Source) -> None:
        self.topic = topic
        self.viewers: set[Viewer] = set()
        self._source = source
        self._rows: Rows | None = None
        self._hurry = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self, tasks: asyncio.TaskGroup) -> None:
        if self._task is None:
            name = f"live.{self.topic}"
            self._task = tasks.create_task(watched(name, self._run), name=name)

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def greet(self, viewer: Viewer) -> None:
        """Show a viewer what there is, and look soon: it may ask for more."""
        if self._rows is not None:
            viewer.offer(self.topic, self._rows)
        self._hurry.set()

    async def _run(self) -> None:
        while True:
            self._hurry.clear()
            began = time.perf_counter()
            await self._look()
            took = time.perf_counter() - began
            LOOKS.labels(self.topic).observe(took)
            await asyncio.sleep(REST * took)
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, self._source.period_s - took - REST * took)):
                    await self._hurry.wait()

    async def _look(self) -> None:
        try:
            self._rows = await self._source.look(self.viewers)
        except (Unavailable, OutcomeUnknown) as error:
            log.warning("live.unseen", topic=self.topic, reason=str(error))
            for viewer in self.viewers:
                viewer.fail(self.topic)
            return
        for viewer in self.viewers:
            viewer.offer(self.topic, self._rows)
