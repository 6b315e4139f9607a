"""Concurrent calls share one round trip: wake-ups, not rows, are what a server costs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from shared.errors import OutcomeUnknown, Unavailable

T = TypeVar("T")
R = TypeVar("R")

MAX_PENDING = 10_000

Run = Callable[[Sequence[T]], Awaitable[Sequence[R | Exception]]]


class Batcher(Generic[T, R]):
    """Collects what arrives while the previous batch runs; there is no timer, so a lone call never waits.

    Args:
        run: Takes the batch, answers with one result or exception per item, in order. What it raises goes to
            every caller.
        limit: Items per batch at most.
        divisible: Errors of one item's data: the batch is repeated one by one, and each caller gets its own.
    """

    def __init__(
        self, run: Run[T, R], *, limit: int = 128, divisible: tuple[type[Exception], ...] = ()
    ) -> None:
        self._run = run
        self._limit = limit
        self._divisible = divisible
        self._pending: list[tuple[T, asyncio.Future[R]]] = []
        self._apart: list[tuple[T, asyncio.Future[R]]] = []
        """Of a batch that failed for one item's data, and was undone: each is tried alone, before others."""
        self._worker: asyncio.Task[None] | None = None

    async def add(self, item: T) -> R:
        """The result for `item`, once its batch has run. Cancelling the call does not undo the item."""
        if len(self._pending) >= MAX_PENDING:
            raise Unavailable("too many calls wait for their turn")
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._pending.append((item, answer))
        if self._worker is None:
            self._worker = asyncio.create_task(self._drain(), name="batcher")
        return await answer

    async def _drain(self) -> None:
        try:
            while batch := self._next():
                await self._answer([entry for entry in batch if not entry[1].done()])
        finally:
            self._worker = None

    def _next(self) -> list[tuple[T, asyncio.Future[R]]]:
        if self._apart:
            return [self._apart.pop(0)]
        batch, self._pending = self._pending[: self._limit], self._pending[self._limit :]
        return batch

    async def _answer(self, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        if not batch:
            return
        try:
            results = await self._run([item for item, _ in batch])
        except self._divisible as error:
            self._divide(batch, error)
        except asyncio.CancelledError:
            _settle(batch, [OutcomeUnknown("the call was ended before its answer")] * len(batch))
            self._give_up(Unavailable("the call before it was ended"))
            raise
        except Exception as error:  # noqa: BLE001  not swallowed: it is raised again in every caller
            if _nobody_there(error):
                self._give_up(Unavailable(str(error)))
            _settle(batch, [error] * len(batch))
        else:
            _settle(batch, results)

    def _give_up(self, error: Unavailable) -> None:
        """All who wait would wait for the same answer, one batch's patience after another."""
        waiting, self._apart, self._pending = self._apart + self._pending, [], []
        _settle(waiting, [error] * len(waiting))

    def _divide(self, batch: list[tuple[T, asyncio.Future[R]]], error: Exception) -> None:
        if len(batch) == 1:
            _settle(batch, [error])
        else:
            self._apart = batch


def _nobody_there(error: Exception) -> bool:
    """The server is away or silent; a lost connection or a refusal is the trouble of one batch."""
    if isinstance(error, Unavailable):
        return not error.refused
    return isinstance(error, OutcomeUnknown) and isinstance(error.__cause__, TimeoutError)


def _settle(batch: list[tuple[T, asyncio.Future[R]]], results: Sequence[R | Exception]) -> None:
    for (_, answer), result in zip(batch, results, strict=True):
        if answer.done():
            continue
        if isinstance(result, Exception):
            answer.set_exception(result)
        else:
            answer.set_result(result)
