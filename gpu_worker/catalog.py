"""The models that this worker runs, as the catalog has them now.

A job may be claimed by a version and that version leave the catalog in the same moment, so what was offered
once can be looked up for as long as the worker lives; what is offered is what may be claimed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping

from shared.catalog import Catalog, Model
from shared.errors import Misconfigured


class Repertoire(Mapping[str, Model]):
    """By `name@version`: contains, iterates and counts what is offered; finds what ever was.

    Args:
        queue: The one this worker serves.
    """

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self._offered: tuple[str, ...] = ()
        self._ever: dict[str, Model] = {}
        self._fresh: asyncio.Queue[list[Model]] = asyncio.Queue()

    def __getitem__(self, ref: str) -> Model:
        return self._ever[ref]

    def __contains__(self, ref: object) -> bool:
        return ref in self._offered

    def __iter__(self) -> Iterator[str]:
        return iter(self._offered)

    def __len__(self) -> int:
        return len(self._offered)

    def wants(self, model: Model) -> bool:
        """Whether this worker needs the model's files."""
        return model.queue == self._queue

    async def adopt(self, catalog: Catalog) -> None:
        """Offer what the catalog has for this queue.

        Raises:
            Misconfigured: The first catalog has nothing for it.
        """
        mine = {model.ref: model for model in catalog.models if self.wants(model)}
        if not mine and not self._ever:
            known = ", ".join(catalog.queues) or "none"
            raise Misconfigured(f"no model of the catalog uses the queue {self._queue!r}; known: {known}")
        if self._ever and (fresh := [mine[ref] for ref in mine.keys() - self._offered]):
            self._fresh.put_nowait(fresh)
        self._ever |= mine
        self._offered = tuple(mine)

    async def warm(self, preload: Callable[[Iterable[Model]], Awaitable[object]]) -> None:
        """Load what comes later, for ever. It is offered meanwhile: a job for it would have it loaded too."""
        while True:
            await preload(await self._fresh.get())
