"""`python -m tests.chaos.sabotaged gateway|gpu_worker WHAT`: the product with one promise taken out.

Only the checker's own test starts this, to see that it notices. No switch for it is in the product.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any


def fence() -> None:
    """A worker commits and renews whatever became of its job meanwhile."""
    from shared.adapters.store import attempts, leases  # noqa: PLC0415  only in the child that wants it

    held = "on j.id = t.id and j.fence = t.fence and j.state = 'running'"
    attempts.LEAVE = _replaced(attempts.LEAVE, held, "on j.id = t.id")
    counted = "    from gone\n)\nselect id"
    attempts.LEAVE = _replaced(
        attempts.LEAVE, counted, counted.replace("gone", "gone on conflict do nothing")
    )
    renewed = "and j.fence = told.fence and j.state = 'running'"
    leases.RENEW = _replaced(leases.RENEW, renewed, "and told.fence is not null")


def late_ack() -> None:
    """A message is acknowledged when it arrives, before its row says who goes on."""
    from gpu_worker.serving import Server  # noqa: PLC0415

    async def serve(self: Any, delivery: Any) -> None:
        await self._queue.settle(delivery)
        await self._worker.act_on(delivery)

    Server._serve = serve  # type: ignore[method-assign]


def relay() -> None:
    """Nobody publishes again, wakes what waits or judges leases."""
    from gateway.relay import Relay  # noqa: PLC0415

    async def rest(self: Any) -> None:
        del self
        await asyncio.Event().wait()

    Relay.run = rest  # type: ignore[method-assign]


def resync() -> None:
    """A subscriber that missed a push is left to it."""
    from gateway.feed.watch import Watch  # noqa: PLC0415

    def judge(self: Any, seq: int) -> bool:
        del self, seq
        return False

    def miss(self: Any) -> None:
        del self

    Watch.judge = judge  # type: ignore[method-assign]
    Watch.miss = miss  # type: ignore[method-assign]


def _replaced(sql: str, old: str, new: str) -> str:
    if old not in sql:
        raise RuntimeError(f"the statement has changed: {old!r} is not in it any more")
    return sql.replace(old, new)


SABOTAGES: dict[str, Callable[[], None]] = {
    "fence": fence, "late-ack": late_ack, "relay": relay, "resync": resync,
}  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    """Take the promise out, then be that process."""
    module, what = arguments
    SABOTAGES[what]()
    return int(import_module(f"{module}.__main__").main())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
