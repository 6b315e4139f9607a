"""One turn of one contender: its queue is filled, its worker starts, and results are counted as they come.

Every side leaves one key per job in a Redis database; the count of its keys is read fifty times a second,
which costs the server a few microseconds each. Start-up does not count: the clock runs from the first look
that finds a result to the first that finds all.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import redis.asyncio

from benchmarks.engine import cpu
from benchmarks.engine.arithmetic import Pace, Reading, pace_of
from benchmarks.engine.plan import READ_EVERY_S
from deploy.local.failure import NotReadyError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.engine.contenders import Contender

SILENCE_S = 60


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn showed.

    Attributes:
        pace: Jobs per second and their cost.
        parent_mb: PSS of the worker's parent at the end.
        child_mb: PSS of all that it started.
    """

    pace: Pace
    parent_mb: float
    child_mb: float


async def take_turn(contender: Contender, count: int, servers: Mapping[str, int]) -> Turn:
    """Fill, start, count, stop.

    Args:
        contender: Whose turn it is.
        count: Jobs.
        servers: Other processes whose CPU time is to be told, by name.

    Raises:
        NotReadyError: The worker ended, or no more results came.
        UnexpectedAnswerError: Jobs ended, but did not succeed.
    """
    async with redis.asyncio.from_url(contender.results, socket_timeout=10) as results:
        await results.flushdb()
        await contender.fill(count)
        try:
            await contender.start()
            first = await _until(contender, results, 1, servers)
            last = await _until(contender, results, count, servers)
            held = cpu.held(contender.worker.pid)
        finally:
            await contender.stop()
        await contender.check(results)
    return Turn(pace_of(first, last), *held)


async def _until(
    contender: Contender, results: redis.asyncio.Redis, count: int, servers: Mapping[str, int]
) -> Reading:
    """Look until so many results are there; then read the clocks, the CPU's after the wall's."""
    done, changed = 0, time.perf_counter()
    while True:
        before, done = done, int(await results.dbsize())
        at = time.perf_counter()
        changed = at if done != before else changed
        if done >= count:
            return Reading(at, done, cpu.used_by({"worker": contender.worker.pid, **servers}))
        _judge(contender, at - changed)
        await asyncio.sleep(READ_EVERY_S)


def _judge(contender: Contender, silent_s: float) -> None:
    if contender.worker.child.poll() is not None:
        raise NotReadyError(f"the worker of {contender.name} ended", contender.worker.log)
    if silent_s > SILENCE_S:
        raise NotReadyError(f"{contender.name}: no more results for {SILENCE_S} s", contender.worker.log)
