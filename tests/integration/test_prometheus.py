"""A real Prometheus scrapes a real stack: every rule can be worked out, every panel has something to show."""

from __future__ import annotations

import asyncio
import json
import math
import re
from typing import TYPE_CHECKING

import pytest

from deploy.grafana.boards import FOLDER
from tests.prometheus import Prometheus
from tests.watched import watched

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = [pytest.mark.anyio, pytest.mark.stack, pytest.mark.timeout(180)]

PATIENCE_S = 60
JOBS = {"leveret-gateway", "leveret-worker", "leveret-scaler"}


@pytest.fixture(scope="module")
async def scraped(
    stack_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Prometheus]:
    async with watched(stack_env, tmp_path_factory.mktemp("watched")) as stack:
        yield stack.prometheus


def _panels() -> Iterator[tuple[str, str]]:
    """Every query of every dashboard as it lies there, with the panel's name."""
    for file in sorted(FOLDER.glob("*.json")):
        board = json.loads(file.read_text())
        for panel in board["panels"]:
            for target in panel["targets"]:
                yield f"{board['uid']}: {panel['title']} {target['refId']}", target["expr"]


PANELS = dict(_panels())


def _as_asked_by_grafana(expr: str) -> str:
    expr = expr.replace("$__rate_interval", "30s")
    return re.sub(r"\$(queue|model)\b", ".+", expr)


async def _has_data(asked: Prometheus, expr: str) -> bool:
    samples = await asked.query(_as_asked_by_grafana(expr))
    return any(not math.isnan(float(sample["value"][1])) for sample in samples)


async def test_all_three_kinds_of_process_are_scraped(scraped: Prometheus) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while {sample["metric"]["job"] for sample in await scraped.query("up == 1")} != JOBS:
            await asyncio.sleep(0.2)


async def test_a_worker_that_the_scaler_started_is_found_on_its_free_port(scraped: Prometheus) -> None:
    """`watched` names no port for it: it comes by the gateway's list alone."""
    async with asyncio.timeout(PATIENCE_S):
        while not (up := await scraped.query('up{job="leveret-worker"} == 1')):
            await asyncio.sleep(0.2)
    found = (await scraped.ask("targets", state="active"))["activeTargets"]
    (worker,) = (target for target in found if target["labels"]["job"] == "leveret-worker")
    assert worker["labels"] == {"instance": up[0]["metric"]["instance"], "job": "leveret-worker"}
    assert worker["discoveredLabels"]["__meta_leveret_queue"] == "quick"


@pytest.mark.parametrize("panel", PANELS)
async def test_a_panel_has_data(scraped: Prometheus, panel: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await _has_data(scraped, PANELS[panel]):
            await asyncio.sleep(0.3)


async def test_every_rule_can_be_worked_out_and_nothing_is_wrong(scraped: Prometheus) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await scraped.query("leveret:model_failed:ratio15m"):
            await asyncio.sleep(0.3)
    groups = (await scraped.ask("rules"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert [(rule["name"], rule["lastError"]) for rule in rules if rule.get("lastError")] == []
    assert {rule["health"] for rule in rules} <= {"ok", "unknown"}
    alerts = (await scraped.ask("alerts"))["alerts"]
    assert [alert["labels"] for alert in alerts if alert["state"] == "firing"] == []


@pytest.mark.parametrize(
    "expr",
    [
        "leveret_worker_device_busy_seconds_total > 0",
        "leveret_worker_device_memory_used_bytes > 1e6",
        "leveret_worker_device_memory_total_bytes > leveret_worker_device_memory_used_bytes",
        "leveret_worker_engine_starts_total == 1",
        'leveret_worker_stage_seconds_count{model="thumbnail", stage="infer"} > 0',
        'leveret_worker_wait_seconds_count{class="high"} > 0',
        'leveret_worker_attempts_total{model="broken", outcome="failed"} > 0',
        'leveret_worker_errors_total{model="broken", code="algorithm_error"} > 0',
        "leveret_gateway_push_lag_seconds_count > 0",
        "histogram_quantile(0.5, rate(leveret_gateway_push_lag_seconds_bucket[30s])) < 2.5",
        "leveret_gateway_queue_consumers >= 1",
        "leveret_scaler_launches_total == 1",
        "time() - leveret_scaler_last_look_timestamp_seconds < 60",
    ],
)
async def test_what_was_done_is_what_is_told(scraped: Prometheus, expr: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await scraped.query(expr):
            await asyncio.sleep(0.3)
