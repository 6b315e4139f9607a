"""A job's inputs, metadata, error and log are other people's text, and stay text."""

from __future__ import annotations

import httpx2
import pytest
from playwright.async_api import expect

from tests.dashboard.visitor import Visitor, finished
from tests.e2e.processes import WorkerProcess

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

OWNED = '<img src=x onerror="window.owned=1"><script>window.owned=1</script><svg/onload=window.owned=1>'
ODD = "\u202eevil\u202c 🐇 " + "w" * 200
METADATA = {OWNED: OWNED, "__proto__": {"owned": 1}, "link": "javascript:window.owned=1", "odd": ODD}


async def test_hostile_text_is_shown_and_does_nothing(
    visitor: Visitor, http: httpx2.AsyncClient, steady: WorkerProcess
) -> None:
    assert steady.pid
    said = {"model": "picky", "inputs": {"words": {"json": OWNED}}, "metadata": METADATA}
    job = (await http.post("/v1/jobs", json=said)).raise_for_status().json()
    await finished(http, job["id"], "failed")
    page = visitor.page

    await visitor.go(f"jobs/{job['id']}")
    await expect(page.get_by_label("metadata")).to_contain_text(OWNED.replace('"', '\\"'))
    await expect(page.get_by_label("Error")).to_contain_text(OWNED)
    await page.get_by_role("button", name="Show what it printed").click()
    await expect(page.get_by_label("Log of attempt 1")).to_contain_text(OWNED)
    await visitor.go("jobs?model=picky")
    await expect(page.locator(f'tr[data-name="{job["id"]}"]')).to_contain_text("onerror")

    assert await page.evaluate("() => window.owned ?? Object.prototype.owned ?? null") is None
    assert await page.locator('img[src="x"], a[href^="javascript"], main script').count() == 0


async def test_the_page_forbids_what_it_does_not_do(visitor: Visitor) -> None:
    answer = await visitor.page.request.get(visitor.url)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy


async def test_the_first_load_is_small(stranger: Visitor) -> None:
    sizes: list[int] = []
    session = await stranger.page.context.new_cdp_session(stranger.page)
    await session.send("Network.enable")
    session.on("Network.loadingFinished", lambda told: sizes.append(told["encodedDataLength"]))
    await stranger.arrive()
    assert 10_000 < sum(sizes) <= 300_000
