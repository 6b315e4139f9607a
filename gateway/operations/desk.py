"""An operator's questions and orders, each answered from the rows as they are now."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from gateway.audit import Audit, name_of
from gateway.operations.figures import (
    explained,
    fleet_document,
    leaving,
    queue_document,
    worker_document,
)
from gateway.operations.history import history_document
from gateway.operations.ports import Holds, Load, Pace, Pause, Present, Records, Setting, Settings
from gateway.ports import Caller, Models
from gateway.refusals import LimitsCrossed, WorkerLeaving
from shared.errors import NotFound

NO_QUEUE = "there is no such queue"
NO_WORKER = "there is no such worker, or it has left"
HEARD = "the worker has heard that it shall leave, and leaves"
CROSSED = "the minimum would be above the maximum: set both at once, or give one back with null"

R = TypeVar("R", Load, Pace, Present)


class Desk:
    """What operators see and do.

    Args:
        catalog: Which queues there should be.
        records: The rows.
        settings: What operators set of fleets.
        holds: Which queues they hold.
        audit: Writes down who did what.

    Raises from every method:
        Unavailable: PostgreSQL is away.
    """

    def __init__(
        self, catalog: Models, records: Records, settings: Settings, holds: Holds, audit: Audit
    ) -> None:
        self._catalog = catalog
        self._records = records
        self._settings = settings
        self._holds = holds
        self._audit = audit

    async def queues(self) -> list[dict[str, Any]]:
        """Every queue of the catalog, and any other that has jobs or workers."""
        loads, paces = _by_queue(await self._records.loads()), _by_queue(await self._records.paces())
        workers, settings = _by_queue(await self._records.workers()), await self._settings.overrides()
        came, pauses = await self._records.came(), await self._holds.pauses()
        offered = self._offered()
        return [
            queue_document(
                queue,
                loads=loads[queue],
                pace=next(iter(paces[queue]), None),
                in_per_s=came.get(queue, 0.0),
                pause=pauses.get(queue),
                workers=workers[queue],
                setting=settings.get(queue),
                offered=queue in offered,
            )
            for queue in sorted(offered | loads.keys() | workers.keys() | _held(pauses))
        ]

    async def hold(self, queue: str, caller: Caller, *, paused: bool) -> dict[str, Any]:
        """Let nothing of a queue be started, or let it go on; returns the queue as it is now.

        Raises:
            NotFound: Nobody knows of such a queue.
            OutcomeUnknown: The answer was lost; asking again is safe.
        """
        await self._check(queue)
        if paused:
            await self._holds.hold(queue, by=name_of(caller))
        else:
            await self._holds.let_go(queue, by=name_of(caller))
        await self._audit.record(caller, "queue.pause" if paused else "queue.resume", queue)
        found = [each for each in await self.queues() if each["queue"] == queue]
        if not found:  # its last job, worker and model left meanwhile
            raise NotFound(NO_QUEUE)
        return found[0]

    async def workers(self, queue: str | None) -> list[dict[str, Any]]:
        """Every worker that may be there, or those of one queue, which nobody needs to know of."""
        workers = await self._records.workers()
        return [worker_document(each) for each in workers if queue is None or each.queue == queue]

    async def drain(self, worker: str, caller: Caller) -> dict[str, Any]:
        """Ask a worker to finish what it holds and leave; returns it as it is now.

        Raises:
            NotFound: There is none of that id, or it has left.
            OutcomeUnknown: The answer was lost; asking again is safe.
        """
        found = await self._records.worker(worker) if _sound(worker) else None
        if found is None:
            raise NotFound(NO_WORKER)
        if not found.drain:
            await self._records.drain(worker)
            await self._audit.record(caller, "worker.drain", worker)
            found = await self._records.worker(worker)
        if found is None:
            raise NotFound(NO_WORKER)
        return worker_document(found)

    async def undrain(self, worker: str, caller: Caller) -> dict[str, Any]:
        """Take back that a worker shall leave; returns it as it is now.

        Raises:
            NotFound: There is none of that id, or it has left.
            WorkerLeaving: It has heard of it.
            OutcomeUnknown: The answer was lost; asking again is safe.
        """
        found = await self._records.worker(worker) if _sound(worker) else None
        if found is None:
            raise NotFound(NO_WORKER)
        if leaving(found):
            if not await self._records.undrain(worker):
                raise WorkerLeaving(HEARD)
            await self._audit.record(caller, "worker.undrain", worker)
            found = await self._records.worker(worker)
        if found is None:
            raise NotFound(NO_WORKER)
        return worker_document(found)

    async def fleets(self) -> list[dict[str, Any]]:
        """The fleet of every queue of the catalog, and any other of which something was set."""
        settings = await self._settings.overrides()
        queues = sorted(self._offered() | settings.keys())
        return await self._fleets(queues, settings)

    async def _fleets(self, queues: Sequence[str], settings: Mapping[str, Setting]) -> list[dict[str, Any]]:
        latest = {decision.queue: decision for decision in await self._records.latest(queues)}
        looks = {look.queue: look for look in await self._records.looks(queues)}
        workers = _by_queue(await self._records.workers())
        return [
            fleet_document(
                queue,
                setting=settings.get(queue),
                latest=latest.get(queue),
                look=looks.get(queue),
                workers=workers[queue],
            )
            for queue in queues
        ]

    async def history(self, queue: str, *, since_s: float) -> dict[str, Any]:
        """How many workers a fleet wanted and had lately, and which limits held.

        Raises:
            NotFound: Nobody knows of such a queue.
        """
        await self._check(queue)
        return history_document(queue, await self._records.spans(queue, since_s=since_s))

    async def decisions(self, queue: str, *, before: int | None, limit: int) -> dict[str, Any]:
        """A page of decisions, newest first, and where the next one begins.

        Raises:
            NotFound: Nobody knows of such a queue.
        """
        await self._check(queue)
        found = await self._records.decisions(queue, before=before, limit=limit + 1)
        page = found[:limit]
        further = page[-1].id if len(found) > limit else None
        return {"decisions": [explained(decision) for decision in page], "next_cursor": further}

    async def override(
        self,
        queue: str,
        caller: Caller,
        *,
        limits: dict[str, int | None] | None = None,
        paused: bool | None = None,
    ) -> dict[str, Any]:
        """Set what is said of a fleet, leave the rest; returns all that is set.

        Raises:
            NotFound: Nobody knows of such a queue.
            LimitsCrossed: The minimum would be above the maximum.
            OutcomeUnknown: The answer was lost; setting it again is safe.
        """
        await self._check(queue)
        by = name_of(caller)
        setting = await self._settings.override(queue, by=by, limits=limits, paused=paused)
        if setting is None:
            raise LimitsCrossed(CROSSED)
        said = {} if paused is None else {"paused": paused}
        await self._audit.record(caller, "fleet.set", queue, detail={**(limits or {}), **said})
        [fleet] = await self._fleets([queue], {queue: setting})
        return fleet

    async def _check(self, queue: str) -> None:
        if queue not in self._offered() and not (_sound(queue) and await self._records.knows(queue)):
            raise NotFound(NO_QUEUE)

    def _offered(self) -> set[str]:
        return {model.queue for model in self._catalog.models}


def _held(pauses: Mapping[str, Pause]) -> set[str]:
    return {queue for queue, pause in pauses.items() if pause.paused}


def _sound(name: str) -> bool:
    """Whether PostgreSQL can be asked for it at all."""
    return "\x00" not in name


def _by_queue(rows: Iterable[R]) -> defaultdict[str, list[R]]:
    found: defaultdict[str, list[R]] = defaultdict(list)
    for row in rows:
        found[row.queue].append(row)
    return found
