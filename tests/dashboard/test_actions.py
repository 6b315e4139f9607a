"""What is done from the page: asked first where it must be, by mouse or keyboard, shown once it is true."""

from __future__ import annotations

import httpx2
import pytest
from playwright.async_api import expect

from tests.dashboard.visitor import Visitor, finished
from tests.e2e.processes import Gate, WorkerProcess

pytestmark = [pytest.mark.anyio, pytest.mark.stack]


async def failed_job(http: httpx2.AsyncClient, words: str) -> str:
    said = {"model": "picky", "inputs": {"words": {"json": words}}}
    job = (await http.post("/v1/jobs", json=said)).raise_for_status().json()
    return str((await finished(http, job["id"], "failed"))["id"])


async def retries_of(http: httpx2.AsyncClient, jobs: set[str]) -> set[str]:
    rows = (await http.get("/v1/jobs", params={"model": "picky", "limit": 200})).json()["jobs"]
    return {row["retry_of"] for row in rows} & jobs


async def test_a_bulk_retry_names_its_number_and_its_question_outlives_what_happens_meanwhile(
    visitor: Visitor, http: httpx2.AsyncClient, steady: WorkerProcess
) -> None:
    assert steady.pid
    page = visitor.page
    failed = {await failed_job(http, "three of a kind") for _ in range(3)}
    await visitor.go("jobs?model=picky")
    for job_id in failed:
        await page.locator(f'tr[data-name="{job_id}"]').get_by_role("checkbox").check()
    await page.get_by_role("button", name="Retry 3").click()
    question = page.get_by_role("dialog")
    await expect(question.get_by_role("button", name="Retry 3")).to_be_visible()
    assert await retries_of(http, failed) == set()

    await failed_job(http, "meanwhile")
    await expect(page.locator("button.pill")).to_be_visible()

    await question.get_by_role("button", name="Retry 3").click()
    panel = page.get_by_label("Actions under way")
    await expect(panel).to_contain_text("3 of 3")
    await expect(panel).to_contain_text("done")
    assert await retries_of(http, failed) == failed


async def test_not_now_means_that_nothing_is_done(
    visitor: Visitor, http: httpx2.AsyncClient, steady: WorkerProcess
) -> None:
    assert steady.pid
    page = visitor.page
    job_id = await failed_job(http, "left alone")
    await visitor.go("jobs?model=picky&state=failed")
    await page.locator(f'tr[data-name="{job_id}"]').get_by_role("checkbox").check()
    await page.get_by_role("button", name="Retry 1 failed").click()
    await page.get_by_role("dialog").get_by_role("button", name="Not now").click()
    await expect(page.get_by_role("dialog")).to_have_count(0)
    assert await retries_of(http, {job_id}) == set()


async def test_a_failed_job_is_found_and_retried_by_keyboard_alone(
    visitor: Visitor, http: httpx2.AsyncClient, steady: WorkerProcess
) -> None:
    assert steady.pid
    page, keys = visitor.page, visitor.page.keyboard
    job_id = await failed_job(http, "by keyboard")
    for key in ("g", "j"):
        await keys.press(key)
    await expect(page.get_by_label("Filter jobs")).to_be_visible()
    await keys.press("/")
    await keys.type("model:picky state:failed")
    await keys.press("Enter")
    await expect(page).to_have_url(f"{visitor.url}/#/jobs?state=failed&model=picky")
    await keys.press("Escape")
    await keys.press("Escape")
    await expect(page.locator(f'tr[data-name="{job_id}"]')).to_be_visible()
    for key in ("j", "Enter"):
        await keys.press(key)
    await expect(page).to_have_url(f"{visitor.url}/#/jobs/{job_id}")
    await expect(page.get_by_role("button", name="Retry")).to_be_enabled()
    for key in (".", "Enter"):
        await keys.press(key)
    await page.wait_for_function("id => !location.hash.endsWith(id)", arg=job_id)
    await expect(page.locator("h1")).to_contain_text("failed")
    assert await retries_of(http, {job_id}) == {job_id}


async def test_a_running_job_is_canceled_after_a_question(
    visitor: Visitor, http: httpx2.AsyncClient, steady: WorkerProcess, gate: Gate
) -> None:
    assert steady.pid
    page = visitor.page
    said = {"model": "gated", "inputs": {"note": {"json": 1}}, "params": gate.params}
    job = (await http.post("/v1/jobs", json=said)).raise_for_status().json()
    await gate.until_runs(1)
    await visitor.go(f"jobs/{job['id']}")
    await page.get_by_role("button", name="Cancel").click()
    await page.get_by_role("dialog").get_by_role("button", name="Cancel 1 job").click()
    await expect(page.locator("h1")).to_contain_text("canceled")


async def test_a_paused_queue_goes_on_by_undo(visitor: Visitor, steady: WorkerProcess) -> None:
    assert steady.pid
    page = visitor.page
    await visitor.go("queues")
    row = page.locator('tr[data-name="steady"]')
    await row.get_by_role("button", name="Pause").click()
    await expect(row).to_contain_text("paused by dashboard/tester")
    await page.get_by_role("button", name="Undo").click()
    await expect(row.get_by_role("button", name="Pause")).to_be_visible()


async def test_reload_and_back_show_the_same(
    visitor: Visitor, http: httpx2.AsyncClient, steady: WorkerProcess
) -> None:
    assert steady.pid
    page = visitor.page
    job_id = await failed_job(http, "to come back to")
    await visitor.go("jobs?state=failed&model=picky")
    tab = page.get_by_role("tab", name="failed")
    row = page.locator(f'tr[data-name="{job_id}"]')
    await row.click()
    await expect(page.locator("h1")).to_contain_text("picky")
    await page.go_back()
    await expect(tab).to_have_attribute("aria-selected", "true")
    await page.reload()
    await expect(tab).to_have_attribute("aria-selected", "true")
    await expect(row).to_be_visible()
    assert await page.get_by_label("Filter jobs").input_value() == "state:failed model:picky"


async def test_a_pasted_id_jumps(visitor: Visitor, http: httpx2.AsyncClient, steady: WorkerProcess) -> None:
    assert steady.pid
    job_id = await failed_job(http, "pasted")
    await visitor.go("jobs")
    await visitor.page.get_by_label("Filter jobs").fill(job_id)
    await visitor.page.keyboard.press("Enter")
    await expect(visitor.page.locator("h1")).to_contain_text("picky")


async def test_a_key_is_shown_once_and_a_revoked_one_is_dead(
    visitor: Visitor, http: httpx2.AsyncClient
) -> None:
    page = visitor.page
    await visitor.go("settings?tab=keys")
    await page.get_by_label("Name").fill("ci")
    await page.get_by_role("button", name="Make a key").click()
    secret = await page.locator(".secret code").inner_text()
    assert secret.startswith("lev_")
    headers = {"Authorization": f"Bearer {secret}"}
    assert (await http.get("/v1/models", headers=headers)).status_code == 200
    await page.reload()
    assert secret not in await page.content()

    await page.get_by_role("button", name="Revoke ci").click()
    await page.get_by_role("dialog").get_by_label("Type").fill("ci")
    await page.get_by_role("dialog").get_by_role("button", name="Revoke 1 key").click()
    await expect(page.get_by_text("revoked", exact=False)).not_to_have_count(0)
