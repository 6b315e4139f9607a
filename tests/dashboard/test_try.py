"""A file dropped on a model, watched until its result stands beside it."""

from __future__ import annotations

import asyncio
import io

import httpx2
import pytest
from PIL import Image
from playwright.async_api import expect

from tests.dashboard.visitor import Visitor
from tests.e2e.processes import Gate, House, WorkerProcess

pytestmark = [pytest.mark.anyio, pytest.mark.stack]


def picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (640, 480), "teal").save(file, "PNG")
    return file.getvalue()


async def test_a_dropped_image_waits_runs_and_its_result_stands_beside_it(
    visitor: Visitor, house: House
) -> None:
    page = visitor.page
    await visitor.go("models")
    await visitor.drop(page.locator('tr[data-name="thumbnail"]'), "teal.png", picture(), "image/png")

    await visitor.step("Worker starting", "no worker")
    with house.worker("quick", ready=False):
        await visitor.step("Result", "succeeded")

    entered = page.locator(".side canvas")
    result = page.locator(".side img")
    await expect(result).to_be_visible()
    await page.wait_for_function("() => document.querySelector('.side img').naturalWidth === 256")
    left, right = await entered.bounding_box(), await result.bounding_box()
    assert left is not None
    assert right is not None
    assert left["x"] + left["width"] <= right["x"]
    assert abs(left["y"] - right["y"]) < 4
    assert right["y"] + right["height"] <= 800


async def test_a_run_is_seen_while_it_runs(visitor: Visitor, steady: WorkerProcess, gate: Gate) -> None:
    page = visitor.page
    assert steady.pid
    await visitor.go("models/gated")
    await page.get_by_label("note").fill('{"what": "<b>bold</b>"}')
    await page.get_by_label("gate").fill(str(gate.path))
    await page.get_by_role("button", name="Run").click()

    await visitor.step("Running", "25 %")
    gate.open()
    await visitor.step("Result", "succeeded")
    await expect(page.locator(".side").last).to_contain_text("<b>bold</b>")


async def test_a_job_that_waits_within_its_worker_says_so(
    visitor: Visitor, house: House, http: httpx2.AsyncClient, gate: Gate
) -> None:
    page = visitor.page
    with house.worker("crowded", slots="2"):
        said = {"model": "crowded", "inputs": {"note": {"json": 1}}, "params": gate.params}
        jobs = [(await http.post("/v1/jobs", json=said)).raise_for_status().json()["id"] for _ in range(2)]
        await gate.until_runs(1)
        await visitor.go(f"jobs/{await waiting(http, jobs)}")

        await expect(page.locator(".why")).to_contain_text("Waits within worker-crowded")
        gate.open()
        await expect(page.locator("h1")).to_contain_text("succeeded")
        await expect(page.locator(".phase .parts")).to_contain_text("waits its turn")


async def waiting(http: httpx2.AsyncClient, jobs: list[str]) -> str:
    """The one that no engine has begun with."""
    async with asyncio.timeout(60):
        while True:
            for job in jobs:
                if (await http.get(f"/v1/jobs/{job}")).json()["queue_reason"] == "in_worker":
                    return job
            await asyncio.sleep(0.1)
