"""The screenshot checklist, as far as a machine can see: legible, nothing sideways, in place, in both themes.

`DASHBOARD_SHOTS=folder` keeps a picture of every view that is looked at here, for the eyes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.async_api import WebSocketRoute, expect

from tests.dashboard.visitor import Visitor, finished
from tests.e2e.processes import Gate, WorkerProcess

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

LEGIBLE = 4.5
LOOK = (Path(__file__).parent / "looks.js").read_text()
PHONE = {"width": 390, "height": 844}
LONG = "w" * 200 + " \u202eevil\u202c 🐇"
MANY = 200
RESTART = 1012
PAGES = ("", "jobs", "failures", "queues", "workers", "scaler", "models", "models/thumbnail", "models/picky")
TABS = ("keys", "audit", "limits", "all")
MARK_MOVES = """() => {
    window.moved = 0
    new MutationObserver(seen => { window.moved += seen.length })
        .observe(document.querySelector('table.rows tbody'), { childList: true })
}"""
SHOWN = "() => [...document.querySelectorAll('table.rows tbody tr')].map(row => row.dataset.name)"


@dataclass(frozen=True)
class Furnished:
    """Jobs in every state that a page shows."""

    failed: str
    running: str
    group: str

    @property
    def paths(self) -> list[str]:
        own = [f"jobs/{self.failed}", f"jobs/{self.running}", f"failures/{self.group}", "jobs?state=expired"]
        return [*PAGES, *own, *(f"settings?tab={tab}" for tab in TABS)]


@pytest.fixture
async def furnished(http: httpx2.AsyncClient, steady: WorkerProcess, gate: Gate) -> AsyncIterator[Furnished]:
    assert steady.pid
    failed = await submitted(http, "picky", {"words": {"json": LONG}})
    row = await finished(http, failed, "failed")
    running = await submitted(http, "gated", {"note": {"json": LONG}}, params=gate.params)
    await gate.until_runs(1)
    waiting = await submitted(http, "gated", {"note": {"json": 2}})
    await submitted(http, "gated", {"note": {"json": 3}}, delay_s=3600)
    [row] = (await http.get("/v1/jobs", params={"id": failed})).json()["jobs"]
    yield Furnished(failed, running, row["fingerprint"])
    gate.open()
    for job in (running, waiting):
        await finished(http, job, "succeeded")


async def submitted(http: httpx2.AsyncClient, model: str, inputs: dict[str, Any], **more: Any) -> str:
    job = (await http.post("/v1/jobs", json={"model": model, "inputs": inputs, **more})).raise_for_status()
    return str(job.json()["id"])


async def illegible(visitor: Visitor) -> list[dict[str, Any]]:
    """Texts of too little contrast; a page without any text at all is a mistake of this test."""
    texts: list[dict[str, Any]] = await visitor.page.evaluate(LOOK)
    assert len(texts) > 10
    return [text for text in texts if text["ratio"] < LEGIBLE]


async def test_what_measures_contrast_sees_what_is_faint(visitor: Visitor) -> None:
    await visitor.see("models")
    assert await illegible(visitor) == []
    await visitor.page.evaluate("() => { document.querySelector('h1').style.opacity = 0.4 }")
    assert [text["text"] for text in await illegible(visitor)] == ["Models"]


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_every_text_is_legible(visitor: Visitor, furnished: Furnished, theme: str) -> None:
    await visitor.wear(theme)
    for path in furnished.paths:
        await visitor.see(path)
        assert await illegible(visitor) == [], path
        await visitor.shot(f"{theme}-{path}")


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_what_is_old_is_dimmed_and_legible_still(
    stranger: Visitor, furnished: Furnished, theme: str
) -> None:
    wires: list[WebSocketRoute] = []
    cut = False

    async def through(wire: WebSocketRoute) -> None:
        if cut:
            await wire.close(code=RESTART)
        else:
            wire.connect_to_server()
            wires.append(wire)

    page = stranger.page
    await page.route_web_socket("**/v1/live", through)
    await stranger.log_in()
    await stranger.wear(theme)
    cut = True
    await wires[-1].close(code=RESTART)
    await expect(stranger.dot).to_have_text("Offline")
    for path in furnished.paths:
        await stranger.see(path)
        await expect(page.locator("main")).to_have_class("dimmed")
        assert await illegible(stranger) == [], path
        await stranger.shot(f"offline-{theme}-{path}")
    await stranger.see("")
    await expect(page.get_by_label("Health")).to_contain_text("As of ")
    assert await page.locator(".health-ok").count() == 0


async def test_nothing_is_wider_than_a_phone(visitor: Visitor, furnished: Furnished) -> None:
    page = visitor.page
    await page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    for path in furnished.paths:
        await visitor.see(path)
        wide, room = await page.evaluate("() => [document.scrollingElement.scrollWidth, innerWidth]")
        assert wide <= room, path
        current = await page.locator("nav[aria-label=Pages] a[aria-current]").bounding_box()
        assert current is not None
        assert current["x"] >= 0, path
        assert current["x"] + current["width"] <= room, path
        await visitor.shot(f"phone-{path}")


async def test_the_theme_is_switched_and_kept(visitor: Visitor) -> None:
    page = visitor.page
    grounds = set()
    for theme in ("dark", "light", "dark"):
        await visitor.wear(theme)
        grounds.add(await page.evaluate("() => getComputedStyle(document.body).backgroundColor"))
    assert len(grounds) == 2
    await page.reload()
    await expect(page.locator("html")).to_have_attribute("data-theme", "dark")


async def test_two_hundred_jobs_end_and_no_row_moves(
    visitor: Visitor, http: httpx2.AsyncClient, steady: WorkerProcess
) -> None:
    # Given a held queue with two hundred jobs, fifty of them on screen, three selected
    assert steady.pid
    (await http.post("/v1/queues/steady/pause")).raise_for_status()
    for _ in range(MANY // 20):
        await asyncio.gather(*(submitted(http, "picky", {"words": {"json": "storm"}}) for _ in range(20)))
    await visitor.see("jobs?model=picky")
    page = visitor.page
    rows: list[str] = await page.evaluate(SHOWN)
    assert len(rows) == 50
    picked = rows[3:6]
    for name in picked:
        await page.locator(f'tr[data-name="{name}"]').get_by_role("checkbox").check()
    await page.evaluate(MARK_MOVES)
    # When all of them run
    (await http.post("/v1/queues/steady/resume")).raise_for_status()
    await visitor.shot("storm-begins")
    for name in (rows[0], rows[-1]):
        await expect(page.locator(f'tr[data-name="{name}"]')).to_contain_text("failed", timeout=90_000)
    # Then the rows have changed where they stand, and the same ones are selected
    assert await page.evaluate(SHOWN) == rows
    assert await page.evaluate("() => window.moved") == 0
    assert await page.locator("tr.picked").evaluate_all("all => all.map(row => row.dataset.name)") == picked
    await visitor.shot("storm-over")


async def test_back_from_a_job_the_selection_is_still_there(
    visitor: Visitor, http: httpx2.AsyncClient, steady: WorkerProcess
) -> None:
    assert steady.pid
    job = await submitted(http, "picky", {"words": {"json": "looked at"}})
    await finished(http, job, "failed")
    await visitor.see("jobs?model=picky&state=failed")
    page = visitor.page
    await page.locator(f'tr[data-name="{job}"]').get_by_role("checkbox").check()
    await page.locator(f'tr[data-name="{job}"]').get_by_text("picky@1").click()
    await expect(page.locator("h1")).to_contain_text("picky")
    await page.go_back()
    await expect(page.locator(f'tr[data-name="{job}"]').get_by_role("checkbox")).to_be_checked()
