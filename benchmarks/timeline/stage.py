"""Who plays: two scalers, one of which leads, and the `leveret` command in an operator's hands."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from benchmarks import running
from benchmarks.running import Running
from benchmarks.timeline.plan import Plan
from deploy.local.applications import run_module


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What is there before the play begins.

    Attributes:
        url: Of a gateway that serves the models of this folder.
        key: Of a tenant's operator.
        variables: The `LEVERET_` variables of the servers and the catalog.
        folder: For logs and the scalers' state.
    """

    url: str
    key: str
    variables: Mapping[str, str]
    folder: Path

    @property
    def state_dir(self) -> Path:
        """Which processes are the scalers' workers."""
        return self.folder / "scaler"

    @asynccontextmanager
    async def scalers(self, plan: Plan) -> AsyncIterator[tuple[Running, Running]]:
        """One that leads and one that stands by; whoever still runs at the end drains its workers."""
        (self.folder / "logs").mkdir(exist_ok=True)
        first = await self._scaler("scaler-1", plan, "scaler.leading")
        try:
            second = await self._scaler("scaler-2", plan, "scaler.standing_by")
            try:
                yield first, second
            finally:
                await second.stop()
        finally:
            await first.stop()

    async def _scaler(self, name: str, plan: Plan, until: str) -> Running:
        variables = {**self.variables, **plan.scaler(self.state_dir)}
        started = running.start(self.folder, name, "scaler", variables=variables)

        async def told() -> bool:
            return when(started.log, until) is not None

        await started.until(told, name)
        return started

    async def command(self, *words: str) -> str:
        """What `leveret` prints for these words."""
        variables = {"LEVERET_URL": self.url, "LEVERET_API_KEY": self.key}
        log = self.folder / "logs" / "command.log"
        return await run_module("gateway.client", *words, variables=variables, log=log)


def when(log: Path, event: str) -> float | None:
    """The moment of the first line of this event in a log, by the wall clock."""
    for line in log.read_text(errors="replace").splitlines():
        if f'"{event}"' in line:
            return datetime.fromisoformat(json.loads(line)["timestamp"]).timestamp()
    return None
