"""The `dry_run` fleet: everything is decided and told, nothing is done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog

from scaler.looks import Look
from scaler.ports import Fleet, LastLaunch, Ledger
from scaler.snapshot import Machine

log = structlog.get_logger()


class DryRunFleet:
    """Sees another fleet's machines, or none, and changes nothing."""

    def __init__(self, queue: str, seen: Fleet | None = None) -> None:
        self._queue = queue
        self._seen = seen

    async def machines(self) -> Sequence[Machine]:
        """The other fleet's."""
        return await self._seen.machines() if self._seen else ()

    async def launch(self, count: int, *, token: str) -> Sequence[str]:
        """Say what would be launched."""
        log.info("scaler.would_launch", fleet=self._queue, count=count, token=token)
        return ()

    async def terminate(self, ids: Sequence[str]) -> None:
        """Say what would be terminated."""
        log.info("scaler.would_terminate", fleet=self._queue, machines=list(ids))

    def alarms(self) -> Sequence[str]:
        """The other fleet's."""
        return self._seen.alarms() if self._seen else ()


class DryRunLedger:
    """Reads the ledger and writes nothing in it: beside a scaler that acts, its decisions would count."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def last_decision(self, fleet: str) -> int:
        """The real one's."""
        return await self._ledger.last_decision(fleet)

    async def last_launch(self, fleet: str) -> LastLaunch | None:  # noqa: ARG002  the port's
        """None is to be answered for."""
        return None

    async def record(self, fleet: str, **_: Any) -> int:  # noqa: ARG002  the port's
        """The log has it already."""
        return 0

    async def drain(self, ids: Sequence[str]) -> Sequence[str]:
        """Say who would be asked to leave."""
        log.info("scaler.would_drain", workers=list(ids))
        return ()

    async def bury(self, ids: Sequence[str]) -> Sequence[str]:
        """Say whose row would be closed."""
        log.info("scaler.would_bury", workers=list(ids))
        return ()

    async def meter(self, queue: str, machines: Sequence[Machine]) -> None:
        """The scaler that acts does it."""

    async def see(self, queue: str, look: Look) -> None:
        """Likewise."""


class AlwaysLeads:
    """Satisfies `scaler.ports.Lock`: whoever changes nothing needs no lock, and takes none from anybody."""

    async def acquire(self) -> bool:
        """At once."""
        return True

    async def held(self) -> bool:
        """Always."""
        return True
