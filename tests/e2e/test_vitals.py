"""What a running worker tells of itself: its device, what it holds, and every load of a model."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest

from gateway.client import AsyncClient
from gateway.lists.views import StatisticsView
from gateway.operations.views import WorkersView
from tests.e2e.processes import Gate, House
from tests.gateway_process import Backstage, GatewayProcess, api

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

WAIT_S = 60


@pytest.fixture
async def operator(gateway: GatewayProcess, behind: Backstage) -> AsyncIterator[httpx2.AsyncClient]:
    async with api(gateway.url, await behind.keys.create("ops", "vitals", "operator")) as opened:
        yield opened


async def card_of(
    operator: httpx2.AsyncClient, told: Callable[[dict[str, Any]], object], queue: str = "faults"
) -> dict[str, Any]:
    """The card of the queue's one worker, once it tells this: its heartbeat comes every ten seconds."""
    async with asyncio.timeout(WAIT_S):
        while True:
            answer = (await operator.get("/v1/workers", params={"queue": queue})).json()
            WorkersView.model_validate(answer)
            cards = [card for card in answer["workers"] if not card["silent"]]
            if len(cards) == 1 and cards[0]["devices"] and told(cards[0]):
                return dict(cards[0])
            await asyncio.sleep(0.1)


async def statistics_of(operator: httpx2.AsyncClient) -> dict[str, Any]:
    answer = await operator.get("/v1/models/doomed/statistics", params={"scope": "all"})
    StatisticsView.model_validate(answer.json())
    return dict(answer.json())


async def started_cold(operator: httpx2.AsyncClient, times: int) -> dict[str, Any]:
    """The statistics once they count so many loads, which are told just after a heartbeat."""
    async with asyncio.timeout(WAIT_S):
        while (told := await statistics_of(operator))["cold_starts"] != times:
            await asyncio.sleep(0.1)
    return told


async def test_a_workers_card_tells_its_device_its_models_and_how_busy_it_is(
    client: AsyncClient, operator: httpx2.AsyncClient, house: House, gate: Gate
) -> None:
    before = (await statistics_of(operator))["cold_starts"] or 0

    with house.worker("faults"):
        # Before its first job it holds its model, and its device has been at rest
        card = await card_of(operator, lambda card: card["models"])
        [device], [model] = card["devices"], card["models"]
        assert (device["device"], device["kind"]) == ("cpu0", "cpu")
        assert 10e6 < device["memory_used"] < device["memory_total"]
        assert (model["name"], model["version"], model["engines"]) == ("doomed", "1", 1)
        assert 0 < model["load_s"] < WAIT_S
        statistics = await started_cold(operator, before + 1)
        assert statistics["load"]["n"] == before + 1
        assert 0 < statistics["load"]["p50"] < WAIT_S

        # While a job computes it is busy
        job = await client.submit("doomed", note=1, params=gate.params)
        engine = await gate.until_runs(1)
        await card_of(operator, lambda card: (card["devices"][0]["utilisation"] or 0) > 0.5)

        # The engine that comes after one that died has to load it again
        os.kill(engine, signal.SIGKILL)
        await gate.until_runs(2)
        gate.open()
        await job.wait()
        await card_of(operator, lambda card: card["models"] and card["devices"][0]["utilisation"] == 0)
        await started_cold(operator, before + 2)
