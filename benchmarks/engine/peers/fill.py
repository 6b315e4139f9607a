"""`python -m benchmarks.engine.peers.fill WHOSE COUNT [KEY HOLD_MS]`: queues jobs in a peer's own way."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

from benchmarks.engine.peers.addresses import PRIORITY

AT_ONCE = 64


def celery(count: int) -> None:
    """`apply_async` one after the other."""
    from benchmarks.peer.tasks import noop  # noqa: PLC0415  each in a process of its own

    for number in range(count):
        noop.apply_async((number,), priority=PRIORITY)


def device(count: int, key: str, hold_ms: str) -> None:
    """Jobs for the simulated device, all with the same input."""
    from benchmarks.engine.peers.celery_app import device as task  # noqa: PLC0415  idem

    for _ in range(count):
        task.apply_async((key, float(hold_ms)), priority=PRIORITY, queue="device")


def dramatiq(count: int) -> None:
    """`send` one after the other."""
    from benchmarks.engine.peers.dramatiq_app import broker, send  # noqa: PLC0415  idem

    for number in range(count):
        send(number)
    broker.close()


def by_hand(count: int) -> None:
    """Rows, and messages for them."""
    from benchmarks.engine.peers.by_hand import fill  # noqa: PLC0415  idem

    asyncio.run(fill(count))


def taskiq(count: int) -> None:
    """`kiq`, some at once."""
    asyncio.run(_taskiq(count))


async def _taskiq(count: int) -> None:
    from benchmarks.engine.peers.taskiq_app import broker, noop  # noqa: PLC0415  idem

    await broker.startup()
    for first in range(0, count, AT_ONCE):
        await asyncio.gather(*(noop.kiq(number) for number in range(first, min(count, first + AT_ONCE))))
    await broker.shutdown()


if __name__ == "__main__":
    _, whose, count, *rest = sys.argv
    fills: dict[str, Callable[..., None]] = {
        "by_hand": by_hand,
        "celery": celery,
        "device": device,
        "dramatiq": dramatiq,
        "taskiq": taskiq,
    }
    fills[whose](int(count), *rest)
