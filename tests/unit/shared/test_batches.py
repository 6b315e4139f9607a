"""Concurrent calls share a statement; a lone one never waits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import asyncpg
import pytest

from shared.adapters.batching import Batcher
from shared.errors import OutcomeUnknown, Unavailable

pytestmark = pytest.mark.anyio


class Statement:
    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.bad: set[int] = set()
        self.away = False
        self.refused: set[int] = set()
        self.leaves: tuple[int, Exception] | None = None
        """After so many batches it says nothing any more, which comes to this error."""
        self.lost: Exception | None = None

    async def run(self, items: Sequence[int]) -> Sequence[int | Exception]:
        self.batches.append(list(items))
        await asyncio.sleep(0)
        if self.away:
            raise Unavailable("away")
        if self.leaves is not None and len(self.batches) > self.leaves[0]:
            raise self.leaves[1] from TimeoutError()
        if self.refused & set(items):
            raise Unavailable("deadlock detected", refused=True)
        if self.lost is not None:
            raise OutcomeUnknown("lost") from self.lost
        if self.bad & set(items):
            raise asyncpg.DataError("bad")
        return [ValueError(item) if item < 0 else item * 10 for item in items]


async def test_a_batch_is_what_arrived_while_the_previous_one_ran() -> None:
    statement = Statement()
    batcher: Batcher[int, int] = Batcher(statement.run, limit=8)

    answers = await asyncio.gather(*(batcher.add(item) for item in range(20)))

    assert answers == [item * 10 for item in range(20)]
    assert [len(batch) for batch in statement.batches] == [8, 8, 4]


async def test_each_call_gets_its_own_answer_or_error() -> None:
    batcher: Batcher[int, int] = Batcher(Statement().run)
    answers = await asyncio.gather(batcher.add(1), batcher.add(-1), return_exceptions=True)
    assert answers[0] == 10
    assert isinstance(answers[1], ValueError)


async def test_one_bad_row_is_told_apart_from_its_neighbours() -> None:
    statement = Statement()
    statement.bad = {2}
    batcher: Batcher[int, int] = Batcher(statement.run, divisible=(asyncpg.DataError,))

    answers = await asyncio.gather(*(batcher.add(item) for item in (1, 2, 3)), return_exceptions=True)

    assert (answers[0], answers[2]) == (10, 30)
    assert isinstance(answers[1], asyncpg.DataError)


async def test_an_outage_reaches_every_caller_and_the_next_batch_works() -> None:
    statement = Statement()
    statement.away = True
    batcher: Batcher[int, int] = Batcher(statement.run, limit=2)
    answers = await asyncio.gather(*(batcher.add(item) for item in range(5)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [Unavailable] * 5
    assert len(statement.batches) == 1

    statement.away = False
    assert await batcher.add(3) == 30


async def test_a_silent_server_keeps_nobody_waiting_who_came_meanwhile() -> None:
    statement = Statement()
    statement.lost = TimeoutError()
    batcher: Batcher[int, int] = Batcher(statement.run, limit=2)
    answers = await asyncio.gather(*(batcher.add(item) for item in range(5)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [OutcomeUnknown] * 2 + [Unavailable] * 3
    assert statement.batches == [[0, 1]]


@pytest.mark.parametrize("kind", [Unavailable, OutcomeUnknown])
async def test_a_server_that_leaves_over_a_divided_batch_keeps_none_of_it_waiting(
    kind: type[Exception],
) -> None:
    statement = Statement()
    statement.bad, statement.leaves = {0}, (2, kind("silent"))
    batcher: Batcher[int, int] = Batcher(statement.run, limit=4, divisible=(asyncpg.DataError,))
    answers = await asyncio.gather(*(batcher.add(item) for item in range(6)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [asyncpg.DataError, kind, *[Unavailable] * 4]
    assert statement.batches == [[0, 1, 2, 3], [0], [1]]

    statement.leaves = None
    assert await batcher.add(3) == 30


async def test_those_who_come_while_a_batch_is_divided_have_their_turn() -> None:
    statement = Statement()
    statement.bad = {1}
    batcher: Batcher[int, int] = Batcher(statement.run, limit=2, divisible=(asyncpg.DataError,))
    answers = await asyncio.gather(*(batcher.add(item) for item in range(4)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [int, asyncpg.DataError, int, int]
    assert statement.batches == [[0, 1], [0], [1], [2, 3]]


async def test_a_refused_batch_is_the_trouble_of_its_own() -> None:
    statement = Statement()
    statement.refused = {1}
    batcher: Batcher[int, int] = Batcher(statement.run, limit=2)
    answers = await asyncio.gather(*(batcher.add(item) for item in range(4)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [Unavailable, Unavailable, int, int]


async def test_a_lost_connection_is_the_trouble_of_its_own_batch() -> None:
    statement = Statement()
    statement.lost = ConnectionResetError()
    batcher: Batcher[int, int] = Batcher(statement.run, limit=2)
    answers = await asyncio.gather(*(batcher.add(item) for item in range(4)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [OutcomeUnknown] * 4
    assert statement.batches == [[0, 1], [2, 3]]


async def test_a_call_that_is_canceled_by_nobody_keeps_no_caller_waiting() -> None:
    """As a driver may do; a worker would renew the lease of a job that never leaves its hands."""

    async def canceled(_: Sequence[int]) -> Sequence[int]:
        raise asyncio.CancelledError

    batcher: Batcher[int, int] = Batcher(canceled, limit=1)
    async with asyncio.timeout(10):
        answers = await asyncio.gather(batcher.add(1), batcher.add(2), return_exceptions=True)
    assert [type(answer) for answer in answers] == [OutcomeUnknown, Unavailable]


async def test_a_caller_that_leaves_changes_nothing_for_the_others() -> None:
    statement = Statement()
    batcher: Batcher[int, int] = Batcher(statement.run, limit=1)
    first, leaving, staying = [asyncio.create_task(batcher.add(item)) for item in (1, 2, 3)]
    await asyncio.sleep(0)
    leaving.cancel()
    assert (await first, await staying) == (10, 30)
    assert statement.batches == [[1], [3]]
