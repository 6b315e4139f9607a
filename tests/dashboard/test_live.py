"""What is on screen follows what happens, and says so honestly when it cannot."""

from __future__ import annotations

import httpx2
import pytest
from playwright.async_api import Page, Route, WebSocketRoute, expect

from tests.dashboard.visitor import Visitor
from tests.e2e.processes import Gate, WorkerProcess
from tests.gateway_process import Backstage, GatewayProcess

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

RESTART = 1012


async def held_job(http: httpx2.AsyncClient, gate: Gate) -> str:
    said = {"model": "gated", "inputs": {"note": {"json": 1}}, "params": gate.params}
    job: dict[str, str] = (await http.post("/v1/jobs", json=said)).raise_for_status().json()
    await gate.until_runs(1)
    return job["id"]


async def test_a_row_changes_where_it_stands(
    visitor: Visitor, http: httpx2.AsyncClient, steady: WorkerProcess, gate: Gate
) -> None:
    assert steady.pid
    job_id = await held_job(http, gate)
    await visitor.go("jobs?model=gated")
    row = visitor.page.locator(f'tr[data-name="{job_id}"]')
    await expect(row).to_contain_text("running")
    await row.get_by_role("checkbox").check()

    gate.open()
    await expect(row).to_contain_text("succeeded")
    await expect(row.get_by_role("checkbox")).to_be_checked()


async def test_new_jobs_are_counted_and_not_pushed_in(visitor: Visitor, http: httpx2.AsyncClient) -> None:
    await visitor.go("jobs")
    rows = visitor.page.locator("table.rows tbody tr")
    await visitor.page.wait_for_function("() => !document.querySelector('.skeleton')")
    before = await rows.count()

    for _ in range(2):
        said = {"model": "gated", "inputs": {"note": {"json": 1}}, "delay_s": 3600}
        (await http.post("/v1/jobs", json=said)).raise_for_status()

    pill = visitor.page.get_by_role("button", name="2 new jobs")
    await expect(pill).to_be_visible()
    assert await rows.count() == before
    await pill.click()
    await expect(rows).to_have_count(before + 2)
    await expect(pill).to_have_count(0)


async def test_a_lost_connection_is_said_and_what_was_missed_is_read(
    stranger: Visitor, http: httpx2.AsyncClient, steady: WorkerProcess, gate: Gate
) -> None:
    """The server's own sockets, with a hand on the wire."""
    assert steady.pid
    wires: list[WebSocketRoute] = []
    cut = False

    async def through(wire: WebSocketRoute) -> None:
        if cut:
            await wire.close(code=RESTART)
        else:
            wire.connect_to_server()
            wires.append(wire)

    await stranger.page.route_web_socket("**/v1/live", through)
    await stranger.log_in()
    job_id = await held_job(http, gate)
    await stranger.go(f"jobs/{job_id}")
    title = stranger.page.locator("h1")
    await expect(title).to_contain_text("running")

    cut = True
    await wires[-1].close(code=RESTART)
    await expect(stranger.dot).to_have_text("Offline")
    gate.open()
    async with http.stream(
        "GET", f"/v1/jobs/{job_id}/events", headers={"Accept": "text/event-stream"}
    ) as events:
        async for _ in events.aiter_lines():
            pass
    await expect(title).to_contain_text("running")

    cut = False
    await stranger.is_live()
    await expect(title).to_contain_text("succeeded")


async def test_a_failed_read_is_said_and_never_looks_like_no_results(stranger: Visitor) -> None:
    problem = {"title": "Away", "status": 503, "detail": "PostgreSQL is away", "code": "unavailable"}
    broken = True

    async def answer(route: Route) -> None:
        if broken:
            await route.fulfill(status=503, json=problem, content_type="application/problem+json")
        else:
            await route.continue_()

    page = stranger.page
    await page.route("**/v1/jobs?*", answer)
    await stranger.log_in()
    await stranger.go("jobs")
    failed = page.get_by_role("alert")
    await expect(failed).to_contain_text("PostgreSQL is away")
    await expect(failed).to_contain_text("unavailable")
    await expect(page.get_by_text("No jobs yet")).to_have_count(0)

    broken = False
    await page.get_by_role("button", name="Try again").click()
    await expect(failed).to_have_count(0)
    stranger.complaints.clear()  # the browser tells of every 503


async def test_nothing_yet_and_no_match_are_different_things(
    page: Page, gateway: GatewayProcess, behind: Backstage
) -> None:
    newcomer = Visitor(page, gateway.url, await behind.key("newcomer"))
    await newcomer.log_in()
    await newcomer.go("jobs")
    await expect(page.get_by_text("No jobs yet")).to_be_visible()
    await expect(page.get_by_text("curl -H")).to_be_visible()
    await newcomer.go("jobs?state=failed")
    await expect(page.get_by_text("No job matches")).to_be_visible()
    await page.get_by_role("button", name="Clear filters").click()
    await expect(page.get_by_text("No jobs yet")).to_be_visible()


async def test_paused_means_paused(
    visitor: Visitor, http: httpx2.AsyncClient, steady: WorkerProcess, gate: Gate
) -> None:
    assert steady.pid
    job_id = await held_job(http, gate)
    await visitor.go(f"jobs?model=gated&worker={steady.log.stem}")
    row = visitor.page.locator(f'tr[data-name="{job_id}"]')
    await expect(row).to_contain_text("running")

    await visitor.page.keyboard.press("p")
    await expect(visitor.dot).to_have_text("Paused")
    gate.open()
    async with http.stream(
        "GET", f"/v1/jobs/{job_id}/events", headers={"Accept": "text/event-stream"}
    ) as events:
        async for _ in events.aiter_lines():
            pass
    await expect(row).to_contain_text("running")

    await visitor.page.keyboard.press("p")
    await visitor.is_live()
    await expect(row).to_contain_text("succeeded")
