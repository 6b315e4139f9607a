"""What these tests share: a gateway and workers over given servers, and clocks that run beside a fault."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from gateway.client import AsyncClient
from shared.catalog import write_index
from tests.e2e.counting import Books, Tally
from tests.e2e.processes import House
from tests.faults.ground import Ground
from tests.gateway_process import Backstage, GatewayProcess, api, backstage, gateway_process, next_event

HERE = Path(__file__).parent
TENANT = "faults"
MODEL = "faulty"
QUEUE = "faulty"
WHOLE = ["job.queued", "job.running", "job.succeeded"]
RESYNCED_S = 5.0
"""Published: a missed push reaches its subscriber within this of its commit."""
STALL_S = 1.0
"""Published: /livez answers within this. The loop that serves it serves everything, so its longest stall is
in it (`tests/faults/test_redis.py::test_the_pulse_feels_a_stall`)."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A gateway over the servers of `house.env`, and who looks on."""

    house: House
    gateway: GatewayProcess
    behind: Backstage
    books: Books
    key: str
    client: AsyncClient

    async def counted(self, ids: list[str], *, runs: int | None = None) -> Tally:
        """The tally of these jobs, of which none is lost or doubled."""
        return await counted(self.books, ids, runs=runs)


async def counted(books: Books, ids: Sequence[str], *, runs: int | None = None) -> Tally:
    """The tally of these jobs, of which none is lost or doubled; every fault test prints it.

    Args:
        books: Of the database.
        ids: All that was accepted.
        runs: Ended attempts, of all of them, where the fault leaves no doubt about it.
    """
    tally = await books.tally(ids)
    assert (tally.accepted, tally.lost, tally.duplicated) == (len(ids), 0, 0), tally
    assert runs is None or tally.runs == runs, tally
    return tally


def make_catalog(root: Path) -> Path:
    """This folder's models."""
    shutil.copytree(HERE / "models", root, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    write_index(root)
    return root


@asynccontextmanager
async def scene(
    ground: Ground, env: Mapping[str, str], folder: Path, *, catalog: Path | None = None, **settings: str
) -> AsyncIterator[Scene]:
    """A gateway that is ready.

    Args:
        ground: The servers; the tests' own eyes see them directly.
        env: The servers as the product sees them, through proxies.
        folder: For catalog and logs.
        catalog: Other models than this folder's.
        settings: More variables of the gateway.
    """
    house = House(env, catalog or make_catalog(folder / "catalog"), folder)
    started = gateway_process(env, folder, LEVERET_CATALOG_PATH=str(house.catalog), **settings)
    with started as gateway:
        house.logs["gateway"] = gateway.log
        async with backstage({**env, **ground.direct}) as behind:
            key = await behind.key(TENANT)
            async with AsyncClient(gateway.url, key) as client:
                yield Scene(house, gateway, behind, Books(behind.database), key, client)


@dataclass(slots=True)
class Seen:
    """What one socket brought.

    Attributes:
        events: Without progress.
        lags: Seconds from each event's commit to its arrival.
        code: How the socket was closed.
    """

    events: list[dict[str, Any]] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    code: int | None = None

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.events]

    @property
    def seqs(self) -> list[int]:
        return [event["seq"] for event in self.events]


async def read(socket: ClientConnection, seen: Seen, count: int | None = None) -> Seen:
    """Read to the end of the socket, or for so many state events more."""
    wanted = None if count is None else len(seen.events) + count
    try:
        while wanted is None or len(seen.events) < wanted:
            event = await next_event(socket)
            if event["type"] != "job.progress":
                committed = datetime.fromisoformat(event["at"])
                seen.lags.append((datetime.now(UTC) - committed).total_seconds())
                seen.events.append(event)
    except ConnectionClosed as closed:
        seen.code = closed.rcvd.code if closed.rcvd else None
    return seen


@asynccontextmanager
async def pulse(gateway: GatewayProcess) -> AsyncIterator[list[float]]:
    """Asks the gateway all along whether it lives; how long each answer took, in seconds."""
    took: list[float] = []
    async with api(gateway.admin_url, None) as admin:
        asking = asyncio.create_task(_ask(admin, took))
        try:
            yield took
        finally:
            asking.cancel()
            await asyncio.wait([asking])
    assert asking.cancelled(), "the gateway did not answer"
    assert took


async def _ask(admin: httpx2.AsyncClient, took: list[float]) -> None:
    while True:
        began = time.monotonic()
        answer = await admin.get("/livez")
        took.append(time.monotonic() - began)
        assert answer.status_code == 200
        await asyncio.sleep(0.05)
