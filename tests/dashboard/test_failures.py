"""What broke, where a number leads, and what a retry takes: counted while one looks, never doubled."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import sys
from collections.abc import AsyncIterator

import httpx2
import pytest
from playwright.async_api import Page, expect

from tests.dashboard.test_try import picture
from tests.dashboard.visitor import Visitor, finished
from tests.e2e.processes import Gate, WorkerProcess
from tests.gateway_process import Backstage, GatewayProcess, api

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

POLLED_MS = 25_000
"""A page that reads every ten seconds, on a busy machine."""


async def fail(http: httpx2.AsyncClient, *words: str) -> list[str]:
    """So many jobs that failed in these words."""
    said = [{"model": "picky", "inputs": {"words": {"json": each}}} for each in words]
    made = [(await http.post("/v1/jobs", json=each)).raise_for_status().json()["id"] for each in said]
    for job_id in made:
        await finished(http, job_id, "failed")
    return made


async def group_of(http: httpx2.AsyncClient, words: str) -> str:
    groups = (await http.get("/v1/failures")).json()["groups"]
    return str(next(each["fingerprint"] for each in groups if words in each["message"]))


class Tenant:
    """A tenant that nobody else knows of, at the dashboard and at the API."""

    def __init__(self, visitor: Visitor, http: httpx2.AsyncClient) -> None:
        self.visitor, self.http = visitor, http

    @property
    def page(self) -> Page:
        return self.visitor.page


@pytest.fixture
async def tenant(
    request: pytest.FixtureRequest, page: Page, gateway: GatewayProcess, behind: Backstage
) -> AsyncIterator[Tenant]:
    key = await behind.key(f"t{abs(hash(request.node.name)) % 10**8}")
    visitor = Visitor(page, gateway.url, key)
    visitor.watch()
    await visitor.log_in()
    async with api(gateway.url, key) as http:
        yield Tenant(visitor, http)
    assert visitor.complaints == []


async def test_one_is_retried_first_and_then_the_group_without_it(
    tenant: Tenant, steady: WorkerProcess
) -> None:
    assert steady.pid
    page, http = tenant.page, tenant.http
    old = await fail(http, "no face in 1", "no face in 2", "no face in 3")
    await tenant.visitor.go(f"failures/{await group_of(http, 'no face')}")
    await expect(page.locator("h1 a")).to_have_text("3")
    # When one is retried, and fails as before
    await page.get_by_role("button", name="Retry one").click()
    await page.wait_for_function("() => location.hash.startsWith('#/jobs/')")
    await expect(page.locator("h1")).to_contain_text("failed")
    await page.go_back()
    # Then the group has four, of which three are open, and takes these
    await expect(page.locator("h1 a")).to_have_text("4")
    await expect(page.locator(".facts")).to_contain_text("1 of them, 3 open")
    await page.get_by_role("button", name="Retry 3 failed").click()
    question = page.get_by_role("dialog")
    await expect(question).to_contain_text("Left out: 1 more that was retried before.")
    await question.get_by_role("button", name="Retry 3 failed").click()
    await expect(page.get_by_label("Actions under way")).to_contain_text("3 of 3")
    rows = (await http.get("/v1/jobs", params={"limit": 200})).json()["jobs"]
    retried = [row["retry_of"] for row in rows if row["retry_of"]]
    assert len(retried) == len(set(retried)) == 4
    assert set(old) <= set(retried)
    # And when these have failed too, it is the newest three again that are open
    await expect(page.locator("h1 a")).to_have_text("7", timeout=POLLED_MS)
    await expect(page.get_by_role("button", name="Retry 3 failed")).to_be_enabled()


async def test_the_numbers_of_a_group_lead_to_its_jobs(tenant: Tenant, steady: WorkerProcess) -> None:
    assert steady.pid
    page, http = tenant.page, tenant.http
    job, *_ = await fail(http, "out of paper", "out of paper", "another kind")
    (await http.post(f"/v1/jobs/{job}/retry")).raise_for_status()
    fingerprint = await group_of(http, "out of paper")
    await tenant.visitor.go("failures?since=3600")
    row = page.locator(f'tr[data-name="{fingerprint}"]')
    for cell, retried, count in (("c-count", "", 3), ("c-open", " retried:no", 2)):
        await expect(row.locator(f"td.{cell}")).to_have_text(str(count), timeout=POLLED_MS)
        await row.locator(f"td.{cell} a").click()
        await expect(page.get_by_label("Filter jobs")).to_have_value(
            f"state:failed,expired fingerprint:{fingerprint}{retried} ended:<1h"
        )
        await expect(page.locator("table.rows tbody tr")).to_have_count(count)
        await page.go_back()


async def test_failures_and_models_are_read_while_one_looks(tenant: Tenant, steady: WorkerProcess) -> None:
    assert steady.pid
    page, http = tenant.page, tenant.http
    await fail(http, "the first kind")
    await tenant.visitor.go("failures")
    rows = page.locator("table.rows tbody tr")
    await expect(rows).to_have_count(1)
    # A known kind is counted where it stands, a new one beside the table until it is wanted
    await fail(http, "the first kind", "a second kind")
    pill = page.get_by_role("button", name="1 new kind of failure")
    await expect(pill).to_be_visible(timeout=POLLED_MS)
    await expect(rows).to_have_count(1)
    await expect(rows.first.locator("td.c-count")).to_have_text("2")
    await pill.click()
    await expect(rows).to_have_count(2)

    await tenant.visitor.go("models")
    attempts = page.locator('tr[data-name="picky"] td.c-n')
    await expect(attempts).to_have_text("3")
    await fail(http, "once more")
    await expect(attempts).to_have_text("4", timeout=POLLED_MS)


async def test_growing_failures_are_named_with_a_command_that_works_and_lead_to_their_group(
    tenant: Tenant, steady: WorkerProcess, gateway: GatewayProcess
) -> None:
    assert steady.pid
    page, http = tenant.page, tenant.http
    await fail(http, *(f"no ink in tank {number}" for number in range(24)))
    await tenant.visitor.go("")
    health = page.get_by_label("Health")
    await expect(health).to_contain_text("24 by algorithm_error in picky", timeout=POLLED_MS)
    await expect(health).to_contain_text("no ink in tank")
    command = await health.locator("pre").inner_text()
    listed = await _run(command, gateway.url, tenant.visitor.key)
    assert len(json.loads(listed)["jobs"]) == 20  # a page of them

    await health.get_by_role("link").click()
    await expect(page.locator("h1")).to_contain_text("algorithm_error")
    await expect(page.locator("h1 a")).to_have_text("24")


async def _run(command: str, url: str, key: str) -> str:
    program, *arguments = shlex.split(command)
    assert program == "leveret"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "gateway.client", *arguments, "--json"),
        env={**os.environ, "LEVERET_URL": url, "LEVERET_API_KEY": key},
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


async def test_every_number_of_the_backlog_leads_to_its_jobs(
    tenant: Tenant, steady: WorkerProcess, gate: Gate
) -> None:
    assert steady.pid
    page, http = tenant.page, tenant.http
    said = {"model": "gated", "inputs": {"note": {"json": 1}}, "params": gate.params, "priority": 7}
    running = (await http.post("/v1/jobs", json=said)).raise_for_status().json()["id"]
    await gate.until_runs(1)
    waits = {"model": "thumbnail", "inputs": {"image": {"data": "AAAA", "content_type": "image/png"}}}
    for priority in (2, 9):
        (await http.post("/v1/jobs", json={**waits, "priority": priority})).raise_for_status()
    (await http.post("/v1/jobs", json={**waits, "delay_s": 3600})).raise_for_status()
    await tenant.visitor.go("")
    backlog = page.get_by_label("Backlog")
    await expect(backlog).to_contain_text("2 waiting · 1 running · 1 scheduled", timeout=POLLED_MS)
    field, rows = page.get_by_label("Filter jobs"), page.locator("table.rows tbody tr")
    for link, filter_, count in (
        ("2 waiting", "state:queued", 2),
        ("1 running", "state:running", 1),
        ("1 scheduled", "state:waiting", 1),
        ("quick · 9", "state:queued,running queue:quick priority:9", 1),
        ("steady · 7", "state:queued,running queue:steady priority:7", 1),
    ):
        await backlog.get_by_role("link", name=link).first.click()
        await expect(field).to_have_value(filter_)
        await expect(rows).to_have_count(count)
        await page.go_back()
        await expect(backlog).to_be_visible()
    gate.open()
    await finished(http, running, "succeeded")


async def test_the_copied_curl_line_submits_the_job_again(tenant: Tenant, gateway: GatewayProcess) -> None:
    page, http = tenant.page, tenant.http
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    form = {"model": "thumbnail", "options": json.dumps({"metadata": {"note": "it's $(me)"}, "priority": 3})}
    files = {"image": ("teal.png", picture(), "image/png")}
    old = (await http.post("/v1/jobs", data=form, files=files)).raise_for_status().json()
    await tenant.visitor.go(f"jobs/{old['id']}")
    await page.get_by_role("button", name="Copy curl").click()
    await expect(page.get_by_text("curl line copied")).to_be_visible()
    line = await page.evaluate("() => navigator.clipboard.readText()")
    assert gateway.url in line
    assert tenant.visitor.key not in line
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", line),
        env={**os.environ, "LEVERET_API_KEY": tenant.visitor.key},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    out, _ = await process.communicate()
    new = json.loads(out)
    assert new["id"] != old["id"]
    for same in ("model", "model_version", "inputs", "params", "metadata", "priority", "max_attempts"):
        assert new[same] == old[same]
