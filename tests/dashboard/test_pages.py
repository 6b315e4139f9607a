"""Each page answers its question from what really happened, by content and not by its title."""

from __future__ import annotations

import os
import re
import signal

import httpx2
import pytest
from playwright.async_api import expect

from tests.dashboard.test_looks import submitted
from tests.dashboard.test_try import picture
from tests.dashboard.visitor import Visitor, finished
from tests.e2e.processes import House, WorkerProcess

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

INKED = """([canvas, [red, green, blue]]) => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height)
    const near = (place, part) => Math.abs(data[place] - part) < 4
    return data.some((_, at) => at % 4 === 0 && near(at, red) && near(at + 1, green) && near(at + 2, blue))
}"""
SOON_MS = 30_000
"""What is counted for all who look is counted once in some seconds."""
FAILED = [143, 29, 11]
"""What failed, in light colours; nothing else of a chart is drawn in it."""
PERCENTILES = re.compile(r"p50.*p95.*p99", re.DOTALL)


async def test_the_overview_says_what_is_wrong_what_waits_and_what_failed(
    visitor: Visitor, http: httpx2.AsyncClient, steady: WorkerProcess
) -> None:
    # Given a failure, and a job in a queue that no worker serves
    assert steady.pid
    await finished(http, await submitted(http, "picky", {"words": {"json": "off the map"}}), "failed")
    image = {"image": ("t.png", picture(), "image/png")}
    made = await http.post("/v1/jobs", data={"model": "thumbnail"}, files=image)
    lonely = made.raise_for_status().json()["id"]
    page = visitor.page
    await visitor.see("")
    # Then the page says so, with the page that tells more, and what helps
    worst = page.locator(".health, .findings").filter(has_text="quick")
    await expect(worst.first).to_be_visible(timeout=SOON_MS)
    await expect(page.get_by_label("Backlog", exact=True)).to_contain_text("quick · 5")
    errors = page.get_by_label("Top errors")
    await expect(errors.locator("li").filter(has_text="picky").first).to_contain_text("algorithm_error")
    # And each figure has its unit, its window and its number
    for label, told in {
        "Arrivals": r"jobs/(s|min|h)",
        "Completions": "over 1 min",
        "Oldest wait": r"\d (ms|s|min)",
        "Wait, p95": r"n = \d+ in 1 min",
        "Jobs failed": "%",
        "Devices busy": r"\d+/\d+",
        "Cost": "—|/h",
    }.items():
        await expect(page.locator(".tile").filter(has_text=label)).to_contain_text(re.compile(told))
    await visitor.shot("overview")
    (await http.post(f"/v1/jobs/{lonely}/cancel")).raise_for_status()


async def test_what_happened_is_drawn_over_time(
    visitor: Visitor, http: httpx2.AsyncClient, steady: WorkerProcess
) -> None:
    assert steady.pid
    await finished(http, await submitted(http, "picky", {"words": {"json": "drawn"}}), "failed")
    page = visitor.page
    for path, charts in {"": 4, "models/picky": 3}.items():
        await visitor.see(path)
        over = page.get_by_label("Over time")
        await expect(over.locator("figure")).to_have_count(charts, timeout=SOON_MS)
        waits = over.locator("figure").filter(has=page.locator("b", has_text=re.compile("^Wait$")))
        await expect(waits).to_contain_text(PERCENTILES)
        await expect(over.locator("figure").filter(has_text="Outcomes")).to_contain_text("failed")
        drawn = over.get_by_role("img", name="How attempts ended").locator("canvas")
        await expect(drawn).to_be_visible()
        canvas = await drawn.element_handle()
        await page.wait_for_function(INKED, arg=[canvas, FAILED], timeout=SOON_MS)
        await visitor.shot(f"over-time-{path}")
    # And of another window, which the address holds
    await over.get_by_role("combobox").select_option("10 min")
    await expect(over).to_contain_text("steps of 10 s")
    await expect(page).to_have_url(re.compile("window=600"))


async def test_a_model_tells_waits_and_runs_apart_and_its_errors(
    visitor: Visitor, http: httpx2.AsyncClient, steady: WorkerProcess
) -> None:
    assert steady.pid
    await finished(http, await submitted(http, "picky", {"words": {"json": "counted"}}), "failed")
    page = visitor.page
    await visitor.see("models")
    row = page.locator('tr[data-name="picky"]')
    await expect(row.locator(".c-run")).to_contain_text(re.compile(r"\d (ms|s) / \d"))
    await expect(row.locator(".c-errors")).to_have_text("100 %")
    await row.get_by_role("link", name="picky@1").click()
    await expect(page.get_by_label("Latency")).to_contain_text(re.compile(r"Run.*\d (ms|s)"))
    await expect(page.get_by_text("type it in the form")).to_be_visible()


async def test_failures_are_grouped_and_a_group_is_retried(
    visitor: Visitor, http: httpx2.AsyncClient, steady: WorkerProcess
) -> None:
    assert steady.pid
    job = await submitted(http, "picky", {"words": {"json": "a group of its own kind"}})
    await finished(http, job, "failed")
    page = visitor.page
    await visitor.see("failures")
    await page.get_by_text("a group of its own kind").first.click()
    await expect(page.locator("main pre").filter(has_text="ValueError").first).to_be_visible()
    await expect(page.locator(f'tr[data-name="{job}"]')).to_be_visible()
    await page.get_by_role("button", name="Retry one").click()
    await expect(page.locator("h1")).to_contain_text("picky")
    await expect(page.get_by_label("Facts").get_by_role("link", name=job)).to_be_visible()


async def test_a_drained_worker_is_taken_back_until_it_has_heard(visitor: Visitor, house: House) -> None:
    page = visitor.page
    with house.worker("quick") as idle:
        card = page.get_by_role("listitem").filter(has_text=idle.log.stem)
        await visitor.see("workers")
        await expect(card).to_contain_text("ready")
        # Given that it hears nothing for now
        os.kill(idle.pid, signal.SIGSTOP)
        await card.get_by_role("button", name="Drain").click()
        await expect(card).to_contain_text("draining")
        await card.get_by_role("button", name="Take").click()
        await expect(card.get_by_role("button", name="Drain")).to_be_enabled()
        os.kill(idle.pid, signal.SIGCONT)
        # And one that hears it leaves, and cannot be called back
        await card.get_by_role("button", name="Drain").click()
        await expect(card).to_have_count(0, timeout=60_000)
        assert await idle.exit_code() == 0


async def test_settings_show_limits_settings_and_who_did_what(
    visitor: Visitor, http: httpx2.AsyncClient
) -> None:
    (await http.post("/v1/queues/quick/pause")).raise_for_status()
    (await http.post("/v1/queues/quick/resume")).raise_for_status()
    page = visitor.page
    await visitor.see("settings?tab=audit")
    await expect(page.locator("tbody tr").filter(has_text="queue.pause").first).to_contain_text("quick")
    await page.get_by_role("tab", name="Limits and retention").click()
    await expect(page.locator("main")).to_contain_text("MiB")
    await page.get_by_role("tab", name="All settings").click()
    secret = page.locator("tr, .facts div").filter(has_text="LEVERET_POSTGRES_DSN")
    await expect(secret.first).to_be_visible()
    assert "postgresql://" not in await page.content()
