"""Attempts that failed and were repeated, in every figure of failures of a real gateway."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from gateway.lists.views import StatisticsView
from gateway.routes.history import HistoryView
from gateway.routes.overview import OverviewView
from tests.gateway_process import Backstage, submit

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

ATTEMPT = """
insert into attempts (job_id, fence, attempt, worker, outcome, started_at, finished_at, log, timings, error)
select $1::uuid, $2::int, $2::int, 'w', $3::text, now() - interval '1 s', now(), '', '{"queue_s": 1}',
       case when $4::text is not null then jsonb_build_object('code', $4::text, 'message', 'gone') end
"""


@pytest.fixture(scope="module")
async def key(behind: Backstage) -> str:
    return await behind.key("figures")


@pytest.fixture(autouse=True)
async def _clean(behind: Backstage) -> None:
    await behind.database.write("truncate jobs, specs, attempts, events, failures, audit, model_loads")


async def ran(client: httpx2.AsyncClient, behind: Backstage, state: str, *outcomes: str) -> None:
    """A job that had these attempts, one after the other, and is in this state now."""
    job = await submit(client)
    codes = {"waiting": "engine_died", "worker_lost": "worker_lost", "failed": "algorithm_error"}
    for fence, outcome in enumerate(outcomes, 1):
        await behind.database.write(ATTEMPT, job["id"], fence, outcome, codes.get(outcome))
    left = len(outcomes) + (outcomes[-1] == "worker_lost")  # a lapse of the lease counts the fence on
    sql = "update jobs set state = $2, fence = $3, finished_at = now(), publish_due = null where id = $1"
    await behind.database.write(sql, job["id"], state, left)


async def told(client: httpx2.AsyncClient, path: str, view: Any) -> dict[str, Any]:
    answer = await client.get(f"/v1/{path}")
    view.model_validate(answer.json())
    found: dict[str, Any] = answer.json()
    return found


async def test_attempts_that_were_repeated_are_in_every_figure_of_failures(
    client: httpx2.AsyncClient, behind: Backstage
) -> None:
    # Given jobs whose first attempt died and whose second did well, one given back, one lost for good
    for _ in range(2):
        await ran(client, behind, "succeeded", "waiting", "succeeded")
    await ran(client, behind, "succeeded", "worker_lost", "released", "succeeded")
    await ran(client, behind, "failed", "worker_lost", "worker_lost")
    await ran(client, behind, "failed", "waiting", "failed")

    # Then a model's share of errors is of attempts
    model = await told(client, "models/free/statistics", StatisticsView)
    assert model["ended"] == {"succeeded": 3, "failed": 2, "retried": 5, "canceled": 0, "expired": 0}
    assert (model["n"], model["error_rate"]) == (11, 7 / 10)
    # And the chart has them apart
    ended = (await told(client, "history", HistoryView))["ended"]
    assert {name: sum(counts) for name, counts in ended.items()} == model["ended"]
    # And the overview's share is of jobs, those lost for good among them, its errors are of both
    shown = await told(client, "overview", OverviewView)
    assert (shown["stats"]["failure_ratio"]["value"], shown["n"]["failure_ratio"]) == (2 / 5, 5)
    assert {each["code"]: (each["count"], each["retried"]) for each in shown["errors"]} == {
        "worker_lost": (1, 2),
        "engine_died": (0, 3),
        "algorithm_error": (1, 0),
    }
