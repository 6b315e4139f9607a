"""Coroutines among a step's results, without a process."""

from __future__ import annotations

import asyncio

import pytest

from gpu_worker.engine.coroutines import all_settled, settled


async def meet(barrier: asyncio.Barrier, number: int) -> int:
    await barrier.wait()
    return number


def test_coroutines_of_one_call_run_side_by_side_and_keep_their_order() -> None:
    # Given coroutines none of which ends before all have begun
    barrier = asyncio.Barrier(3)
    # When they are settled beside plain values
    values = all_settled([meet(barrier, 1), "plain", meet(barrier, 2), meet(barrier, 3), None])
    # Then each is at its place
    assert values == [1, "plain", 2, 3, None]


def test_plain_values_are_left_alone() -> None:
    values = [object(), {}, None]
    assert all_settled(values) is values
    assert settled(values) is values


async def _fail(barrier: asyncio.Barrier, error: BaseException, ended: list[str]) -> None:
    await barrier.wait()
    ended.append(str(error))
    raise error


def test_the_first_failure_is_raised_once_all_have_ended() -> None:
    barrier, ended = asyncio.Barrier(3), list[str]()
    with pytest.raises(ValueError, match="one"):
        all_settled(
            [
                meet(barrier, 0),
                _fail(barrier, ValueError("one"), ended),
                _fail(barrier, KeyError("two"), ended),
            ]
        )
    assert len(ended) == 2


def test_an_exit_does_not_end_the_loop() -> None:
    async def leave() -> None:
        raise SystemExit(3)

    async def stay() -> str:
        return "here"

    with pytest.raises(SystemExit):
        settled(leave())
    assert settled(stay()) == "here"
