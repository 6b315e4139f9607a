"""Which queues are ready for use. They exist before the first worker does, so publishing always has a place.

A queue that exists with other arguments is refused by name: submits for it get an answer that says so, and
nothing loops. It is looked at again now and then, so that a repair needs no restart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import structlog

from gateway.ports import Publisher
from shared.catalog import Catalog
from shared.errors import Misconfigured, Unavailable

log = structlog.get_logger()

LOOK_AGAIN_S = 15.0


class Queues:
    """The queues of the catalog; a refused one stops no other."""

    def __init__(self, publisher: Publisher, names: Iterable[str] = ()) -> None:
        self._publisher = publisher
        self._names = set(names)

    @property
    def names(self) -> frozenset[str]:
        """All that were ever offered."""
        return frozenset(self._names)

    def check(self, queue: str) -> None:
        """Raise Misconfigured where the broker's queue cannot be used as it is."""
        problem = self._publisher.refused.get(queue)
        if problem is not None:
            raise Misconfigured(str(problem))

    async def adopt(self, catalog: Catalog) -> None:
        """Declare the queues that are new. None is given up with its last model: jobs may be in it."""
        if not self._names.issuperset(catalog.queues):
            self._names.update(catalog.queues)
            await self.declare()

    async def run(self) -> None:
        """Declare refused ones again, for ever."""
        while True:
            await asyncio.sleep(LOOK_AGAIN_S)
            if self._names.intersection(self._publisher.refused):
                await self.declare()

    async def declare(self) -> None:
        """Declare all. A broker that is away is no refusal: the publisher declares them when it is back."""
        try:
            await self._publisher.declare(sorted(self._names))
        except Misconfigured as error:
            log.error("queue.refused", reason=str(error))  # noqa: TRY400  the operator's to mend, no defect
        except Unavailable as error:
            log.warning("queue.undeclared", reason=str(error))
