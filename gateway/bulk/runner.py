"""Executes actions on many jobs, a bounded step at a time. Every gateway runs one; a step is one gateway's.

A step that was cut short is repeated, by this gateway or another: a retry has an Idempotency-Key made of the
old job, so that all actions there are make one of each, and whoever asks twice for an end or a priority asks
for the same. A step that meets an error that nobody foresaw ends its action, and no gateway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from uuid import UUID

import structlog
from uuid_utils.compat import uuid7

from gateway.audit import Audit
from gateway.bulk.ports import Cancels, Repeats, Step, Steps
from gateway.refusals import NotEnded
from gateway.retry import Repeatable
from shared.errors import JobEnded, LeveretError, NotFound, OutcomeUnknown, Unavailable
from shared.listing import Tally

log = structlog.get_logger()

LOOK_S = 2.0
AT_ONCE = 8
"""Jobs in hand: most connections to PostgreSQL are the requests'."""
AWAY = (Unavailable, OutcomeUnknown)
RETRIES = "bulk "
"""Begins their Idempotency-Keys. A space is in no caller's key, so no caller can have used one of them."""
MAX_WORDS = 500


class BulkRunner:
    """Takes steps until it is stopped.

    Args:
        steps: What there is to do.
        repeats: For retries.
        cancels: For ends.
        audit: Every step is written down.
        begun: Set when there is something new here.
    """

    def __init__(
        self, steps: Steps, repeats: Repeats, cancels: Cancels, audit: Audit, begun: asyncio.Event
    ) -> None:
        self._steps = steps
        self._repeats = repeats
        self._cancels = cancels
        self._audit = audit
        self._begun = begun
        self._holder = str(uuid7())
        self._hands = asyncio.Semaphore(AT_ONCE)

    async def run(self) -> None:
        """Execute what there is, for ever."""
        while True:
            self._begun.clear()
            try:
                worked = await self.step()
            except AWAY as error:
                log.warning("bulk.waits", reason=str(error))
                worked = False
            if not worked:
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await self._begun.wait()

    async def step(self) -> bool:
        """Take one step of one action; whether there was one.

        Raises:
            Unavailable: A server is away; the step will be repeated.
            OutcomeUnknown: Idem.
        """
        step: Step | None = await self._steps.take(self._holder)
        if step is None:
            return False
        try:
            tally = await self._done(step)
        except AWAY:
            await self._steps.let_go(self._holder, step)
            raise
        except Exception as error:  # noqa: BLE001  it would end every gateway that repeats the step, in turn
            await self._fail(step, error)
        else:
            await self._settle(step, tally)
        return True

    async def _fail(self, step: Step, error: Exception) -> None:
        """End the action by an error that nobody foresaw; its words may say anything; operators read them."""
        kind = type(error).__name__
        log.error("bulk.failed", bulk_id=str(step.id), step=step.step, exc_info=error)
        met = f"step {step.step} met an unforeseen error: {kind}"
        ended = await self._steps.fail(self._holder, step, met)
        if ended is not None:
            detail = {"step": step.step, "error": f"{kind}: {error}"[:MAX_WORDS]}
            await self._audit.record(
                step.created_by, "bulk.fail", str(step.id), count=ended.done, detail=detail
            )

    async def _settle(self, step: Step, tally: Tally) -> None:
        counted = await self._steps.settle(self._holder, step, tally)
        if counted is None:
            log.warning("bulk.step_lost", bulk_id=str(step.id), step=step.step)
            return
        detail = {"step": step.step, "done": tally.done, "skipped": tally.skipped, "failed": tally.failed}
        await self._audit.record(step.created_by, "bulk.step", str(step.id), count=tally.done, detail=detail)
        if counted.state == "done":
            told = {"done": counted.done, "skipped": counted.skipped, "failed": counted.failed}
            await self._audit.record(
                step.created_by, "bulk.end", str(step.id), count=counted.done, detail=told
            )

    async def _done(self, step: Step) -> Tally:
        match step.action:
            case "retry":
                return await self._retried(step)
            case "cancel":
                return await self._canceled(step)
            case _:
                changed = await self._steps.prioritise(step.ids, step.priority or 0)
                return Tally(changed, len(step.ids) - changed)

    async def _retried(self, step: Step) -> Tally:
        prefix = f"{RETRIES}{step.id} " if step.again else RETRIES
        past = frozenset() if step.again else await self._steps.retried(step, step.ids, prefix)
        found = await self._repeats.found([each for each in step.ids if each not in past])
        told = await self._each([partial(self._retry, step, f"{prefix}{old.id}", old) for old in found])
        return _tally(told, len(step.ids))

    async def _retry(self, step: Step, key: str, old: Repeatable) -> str:
        try:
            await self._repeats.repeat(old, idempotency_key=key)
        except NotEnded:
            return "skipped"
        except AWAY:
            raise
        except LeveretError as error:
            log.info("bulk.refused", bulk_id=str(step.id), job_id=str(old.id), code=error.code)
            return "failed"
        return "done"

    async def _canceled(self, step: Step) -> Tally:
        owners = await self._steps.owners(step.ids)
        told = await self._each([partial(self._cancel, of, id_) for id_, of in owners.items()])
        return _tally(told, len(step.ids))

    async def _cancel(self, tenant: str, job_id: UUID) -> str:
        try:
            await self._cancels.cancel(tenant, job_id)
        except (JobEnded, NotFound):
            return "skipped"
        return "done"

    async def _each(self, works: list[Callable[[], Awaitable[str]]]) -> list[str]:
        """A few at a time. All are waited for, so that a step that fails leaves nothing under way."""

        async def one(work: Callable[[], Awaitable[str]]) -> str:
            async with self._hands:
                return await work()

        told = await asyncio.gather(*(one(work) for work in works), return_exceptions=True)
        for each in told:
            if isinstance(each, asyncio.CancelledError):
                raise OutcomeUnknown("it was canceled by nobody") from each
            if isinstance(each, BaseException):
                raise each
        return [str(each) for each in told]


def _tally(told: list[str], asked: int) -> Tally:
    """What became of them; a job that is not there any more was skipped."""
    done, failed = told.count("done"), told.count("failed")
    return Tally(done, asked - done - failed, failed)
