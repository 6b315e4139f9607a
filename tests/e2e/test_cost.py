"""What it cost: two tenants, two models, one attempt in vain; it adds up to what the workers were paid."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.client import AsyncClient
from gateway.client.jobs import AsyncJob
from tests.e2e.processes import Gate, House, LoggedProcess
from tests.gateway_process import Backstage, GatewayProcess, api

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

HOURLY = Decimal(36)
NEAR = Decimal("0.000001")
"""Rounding: receipts have ten digits, answers eight."""
SLICES = (
    "select worker, since, until, per_hour from machine_time where queue = 'priced' order by worker, slice"
)


@pytest.fixture
def scaler(house: House, catalog: Path, tmp_path: Path) -> Iterator[LoggedProcess]:
    for model in ("dear", "cheap"):
        shutil.copytree(catalog / model, tmp_path / "models" / model)
    settings = {
        "LEVERET_CATALOG_PATH": str(tmp_path / "models"),
        "LEVERET_SCALER_STATE_DIR": str(tmp_path / "state"),
        "LEVERET_SCALER_INTERVAL_S": "0.3",
        "LEVERET_SCALER_PRICE_PER_HOUR": str(HOURLY),
        "LEVERET_WORKER_SLOTS": "2",
        "LEVERET_WORKER_SCRATCH": str(tmp_path / "scratch"),
    }
    with house.scaler(**settings) as started:
        yield started


@pytest.fixture
async def ops(gateway: GatewayProcess, behind: Backstage) -> AsyncIterator[httpx2.AsyncClient]:
    async with api(gateway.url, await behind.keys.create("payers", "till", "operator")) as opened:
        yield opened


@pytest.fixture
async def payers(
    gateway: GatewayProcess, behind: Backstage
) -> AsyncIterator[tuple[AsyncClient, AsyncClient]]:
    keys = [await behind.key("payer-one"), await behind.key("payer-two")]
    async with AsyncClient(gateway.url, keys[0]) as one, AsyncClient(gateway.url, keys[1]) as two:
        yield one, two


async def test_what_jobs_cost_adds_up_to_what_their_workers_were_paid(
    payers: tuple[AsyncClient, AsyncClient],
    ops: httpx2.AsyncClient,
    scaler: LoggedProcess,
    behind: Backstage,
    gate: Gate,
) -> None:
    one, two = payers
    # Given jobs of two tenants and two models, one of which loses its engine once
    retried = await one.submit("dear", note=1, params=gate.params)
    os.kill(await gate.until_runs(1), signal.SIGKILL)
    await gate.until_runs(2)
    gate.open()
    cheap = [await two.submit("cheap", note=number) for number in range(3)]
    # When all have ended, then each has its receipt
    receipts = [await receipt_of(job) for job in (retried, *cheap, await two.submit("dear", note=4))]
    assert [each["wasted_attempts"] for each in receipts] == [1, 0, 0, 0, 0]
    assert Decimal(0) < Decimal(receipts[0]["wasted_cost"]) < Decimal(receipts[0]["cost"])
    cost = [Decimal(each["cost"]) for each in receipts]
    # And when the workers have left, each was paid from its launch to its end
    scaler.drain()
    assert await scaler.exit_code() == 0
    paid = await paid_for(behind, scaler)
    # And what the jobs used and what idled is what was paid, by queue, tenant and model
    queue = (await costs(ops, "queue"))["priced"]
    assert (queue["jobs"], queue["attempts"], queue["wasted_attempts"]) == (5, 6, 1)
    assert amounts(queue) == pytest.approx([sum(cost), paid - sum(cost), paid], abs=NEAR)
    assert Decimal(queue["wasted"]) == pytest.approx(Decimal(receipts[0]["wasted_cost"]), abs=NEAR)
    tenants = {"payer-one": cost[0], "payer-two": sum(cost[1:])}
    models = {"dear": cost[0] + cost[4], "cheap": sum(cost[1:4])}
    for by, expected in (("tenant", tenants), ("model", models)):
        rows = await costs(ops, by)
        told = [amounts(rows[key]) for key in expected]
        assert [used for used, _, _ in told] == pytest.approx(list(expected.values()), abs=NEAR)
        assert sum(each for _, _, each in told) == pytest.approx(paid, abs=NEAR)
    # And a tenant sees its own use, and nothing of what idled
    own = await one.cost("tenant")
    assert [row["key"] for row in own["rows"]] == ["payer-one"]
    assert (own["total"]["idle"], own["total"]["paid"]) == (None, None)
    assert [row["key"] for row in (await one.cost("job"))["rows"]] == [retried.id]


async def receipt_of(job: AsyncJob) -> Mapping[str, Any]:
    """As it came with the end, which is what the gateway tells afterwards."""
    await job.wait(timeout_s=60)
    receipt = job.raw["receipt"]
    assert (await job.refresh()).raw["receipt"] == receipt
    cost = Decimal(str(receipt["machine_s"])) * HOURLY / 3600
    assert Decimal(receipt["cost"]) == pytest.approx(cost, abs=Decimal("0.0001"))
    return dict(receipt)


async def costs(ops: httpx2.AsyncClient, by: str) -> dict[str | None, dict[str, Any]]:
    found = (await ops.get("/v1/cost", params={"by": by})).json()
    return {row["key"]: row for row in found["rows"]}


def amounts(row: Mapping[str, Any]) -> list[Decimal]:
    return [Decimal(row[name]) for name in ("used", "idle", "paid")]


async def paid_for(behind: Backstage, scaler: LoggedProcess) -> Decimal:
    """For all workers of the queue, each of which was paid as long as the scaler's own log says it lived."""
    slices = await behind.database.read(SLICES)
    assert {row["per_hour"] for row in slices} == {HOURLY}
    for row in slices:
        started, ended = moments(row["worker"], scaler)
        assert row["since"] <= started
        assert row["until"] - row["since"] == pytest.approx(ended - started, abs=timedelta(seconds=5))
    seconds = [(row["until"] - row["since"]).total_seconds() for row in slices]
    return sum((Decimal(str(each)) * HOURLY / 3600 for each in seconds), Decimal(0))


def moments(worker: str, scaler: LoggedProcess) -> tuple[datetime, datetime]:
    """When a worker was launched and when its end was seen."""
    started = scaler.logged("scaler.worker_started", worker=worker)
    ended = scaler.logged("scaler.worker_ended", worker=worker)
    assert started is not None
    assert ended is not None
    return datetime.fromisoformat(started["timestamp"]), datetime.fromisoformat(ended["timestamp"])
