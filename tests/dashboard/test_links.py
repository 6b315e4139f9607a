"""The ways out: a job's trace, the metrics' boards; for whom they are meant, and in a window of their own."""

from __future__ import annotations

import httpx2
import pytest
from playwright.async_api import Locator, Page, expect

from shared.telemetry.tracecontext import Context, new_trace
from tests.dashboard.visitor import Visitor
from tests.gateway_process import Backstage, GatewayProcess

pytestmark = [pytest.mark.anyio, pytest.mark.stack]


async def leads_out(link: Locator, address: str) -> None:
    await expect(link).to_have_attribute("href", address)
    await expect(link).to_have_attribute("target", "_blank")
    await expect(link).to_have_attribute("rel", "noreferrer")


async def traced_job(http: httpx2.AsyncClient, trace: Context) -> str:
    body = {"model": "picky", "inputs": {"words": {"json": "x"}}, "delay_s": 3600}
    answer = await http.post("/v1/jobs", json=body, headers={"traceparent": str(trace)})
    return str(answer.raise_for_status().json()["id"])


async def test_a_job_tells_its_trace_and_links_to_one_that_is_recorded(
    visitor: Visitor, http: httpx2.AsyncClient
) -> None:
    recorded, unrecorded = new_trace(), Context(new_trace().trace_id, new_trace().span_id, 0)
    facts = visitor.page.get_by_label("Facts")

    await visitor.go(f"jobs/{await traced_job(http, recorded)}")
    link = facts.get_by_role("link", name=recorded.trace_id)
    await leads_out(link, f"https://jaeger.example.com/trace/{recorded.trace_id}")

    await visitor.go(f"jobs/{await traced_job(http, unrecorded)}")
    await expect(facts).to_contain_text(unrecorded.trace_id)
    await expect(facts.get_by_role("link", name=unrecorded.trace_id)).to_have_count(0)


async def test_an_operator_finds_the_metrics_of_everything_and_of_a_queue(visitor: Visitor) -> None:
    page = visitor.page
    pages = page.get_by_role("navigation", name="Pages")
    boards = "https://grafana.example.com/d"
    await leads_out(pages.get_by_role("link", name="Grafana"), f"{boards}/leveret-overview")

    await visitor.go("queues")
    await leads_out(
        page.get_by_role("link", name="Metrics of quick"), f"{boards}/leveret-queue?var-queue=quick"
    )


async def test_nobody_else_is_told_where_they_are(
    page: Page, gateway: GatewayProcess, behind: Backstage
) -> None:
    visitor = Visitor(page, gateway.url, await behind.key("somebody-else"))
    visitor.watch()
    await visitor.log_in()
    await expect(page.get_by_role("link", name="Jobs", exact=True)).to_be_visible()
    await expect(page.get_by_role("link", name="Grafana")).to_have_count(0)
    assert visitor.complaints == []
