"""Who is at work, on what, and how full: a worker's card and its models' figures, as the worker told them."""

from __future__ import annotations

import re

import httpx2
import pytest
from playwright.async_api import Route, expect

from tests.dashboard.visitor import Visitor
from tests.e2e.processes import Gate, WorkerProcess

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

BEAT_MS = 20_000
"""Two heartbeats."""


async def test_a_card_tells_what_its_worker_holds_and_how_busy_it_is(
    visitor: Visitor, http: httpx2.AsyncClient, steady: WorkerProcess, gate: Gate
) -> None:
    assert steady.pid
    await visitor.go("workers?queue=steady")
    card = visitor.page.get_by_label(f"Worker {steady.log.stem}, ")
    await expect(card.locator(".loaded")).to_contain_text(
        re.compile(r"gated@1 \(loaded in [\d.]+ m?s.*picky@"), timeout=BEAT_MS
    )
    await expect(card.locator(".device")).to_contain_text(re.compile(r"memory [\d.]+( MiB)?/[\d.]+ GiB"))
    await expect(card.get_by_role("meter", name="Memory of cpu0")).to_be_visible()

    for width in (390, 1280):
        await visitor.page.set_viewport_size({"width": width, "height": 800})
        assert await card.evaluate("card => card.scrollWidth <= card.clientWidth")

    # While a job computes, the open card follows by itself
    said = {"model": "gated", "inputs": {"note": {"json": 1}}, "params": gate.params}
    (await http.post("/v1/jobs", json=said)).raise_for_status()
    await gate.until_runs(1)
    await expect(card.locator(".device")).to_contain_text(
        re.compile(r"busy (100|9\d(\.\d)?) %"), timeout=2 * BEAT_MS
    )
    gate.open()
    await expect(card.locator(".device")).to_contain_text("busy 0 %", timeout=2 * BEAT_MS)


async def test_what_a_worker_does_not_tell_is_not_shown_as_nothing(
    visitor: Visitor, steady: WorkerProcess
) -> None:
    """A worker of an older version, and a GPU whose driver does not answer."""
    assert steady.pid

    async def older(route: Route) -> None:
        answer = await route.fetch()
        told = await answer.json()
        [one] = told["workers"][:1]
        dumb = {"device": "cuda0", "kind": "cuda", "name": None, "utilisation": None}
        dumb |= {"memory_used": None, "memory_total": None}
        told["workers"] = [
            {**one, "id": "older", "devices": None, "models": None},
            {**one, "id": "deaf", "devices": [dumb], "models": []},
        ]
        await route.fulfill(response=answer, json=told)

    await visitor.page.route("**/v1/workers", older)
    await visitor.go("workers")
    cards = visitor.page.locator("li.card")
    old = cards.filter(has_text="older")
    await expect(old).to_contain_text("What its devices do is not known.")
    await expect(old.locator(".loaded")).to_have_text("Holds —")
    deaf = cards.filter(has_text="deaf")
    await expect(deaf.locator(".device")).to_have_text(re.compile(r"cuda0\s*busy —\s*memory —$"))
    await expect(deaf.locator(".loaded")).to_have_text("Holds no model yet")
    await expect(old.get_by_role("meter")).to_have_count(0)
    await expect(deaf.get_by_role("meter")).to_have_count(0)
    await visitor.page.unroute("**/v1/workers")


async def test_models_tell_their_loads_and_what_was_never_loaded_has_none(
    visitor: Visitor, steady: WorkerProcess
) -> None:
    assert steady.pid
    page = visitor.page
    await visitor.go("models")
    loaded = page.locator('tr[data-name="gated"]')
    await expect(loaded.locator("td.c-cold")).to_have_text(re.compile(r"^[1-9]\d*$"), timeout=BEAT_MS)
    await expect(loaded.locator("td.c-load")).to_have_text(re.compile(r"^[\d.]+ m?s / "))

    await visitor.go("models/gated")
    await expect(page.get_by_label("Latency")).to_contain_text(re.compile(r"cold starts [1-9]"))
