"""The Scaler page: why this many? By what it says, while a scaler's looks come in."""

from __future__ import annotations

from dataclasses import replace

import httpx2
import pytest
from playwright.async_api import expect

from scaler.looks import Look
from shared.adapters.store.fleet import FleetStore
from tests.dashboard.visitor import Visitor
from tests.gateway_process import Backstage

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

QUEUE = "quick"
CAPPED = Look(
    want=4,
    asked=6,
    bound="max",
    serving=0,
    starting=4,
    leaving=0,
    min=0,
    max=4,
    min_ordered=False,
    max_ordered=False,
    gap_s=90.0,
)


@pytest.fixture
async def scaler(behind: Backstage) -> FleetStore:
    """What a scaler writes."""
    await behind.database.write("delete from fleet_looks")
    await behind.database.write("delete from decisions")
    return FleetStore(behind.database)


async def test_it_says_what_is_wanted_what_holds_it_back_and_who_is_there(
    visitor: Visitor, scaler: FleetStore, http: httpx2.AsyncClient
) -> None:
    await scaler.see(QUEUE, CAPPED)
    await scaler.record(
        QUEUE,
        want=4,
        have=0,
        reason="6 waiting, 0 running; here: nobody; 4 of at most 4 wanted; starting 4",
        snapshot={"demand": "unknown"},
        actions={"launch": 4, "drain": [], "terminate": [], "token": "t"},
    )
    await visitor.go(f"scaler?queue={QUEUE}")
    now = visitor.page.get_by_label("Now", exact=True)

    await expect(now).to_contain_text("Wants 6, capped at 4 by max.")
    await expect(now).to_contain_text("at most 4 (the scaler's settings)")
    await expect(now).to_contain_text("here: nobody; 4 of at most 4 wanted")
    await expect(visitor.page.locator("ol.log")).to_contain_text("start 4")

    # When the next look finds another, the page says so by itself
    await scaler.see(QUEUE, replace(CAPPED, want=1, asked=1, bound=None, starting=1, max=8, max_ordered=True))
    await expect(now).to_contain_text("Wants 1.")
    await expect(now).to_contain_text("at most 8 (an operator's order)")

    # And who is there is what the workers' rows and the scaler's look tell
    [fleet] = [f for f in (await http.get("/v1/scaler")).json()["fleets"] if f["queue"] == QUEUE]
    assert fleet["there"]["serving"] + fleet["there"]["starting"] + fleet["there"]["draining"] >= 1


async def test_its_chart_tells_the_last_numbers_without_being_pointed_at(
    visitor: Visitor, scaler: FleetStore, behind: Backstage
) -> None:
    await scaler.see(QUEUE, CAPPED)
    await behind.database.write(
        "update fleet_looks set at = at - interval '30 min', until = until - interval '20 min'"
    )
    await scaler.see(QUEUE, replace(CAPPED, want=3, asked=3, bound=None, serving=2, starting=1))
    await visitor.go(f"scaler?queue={QUEUE}")

    chart = visitor.page.get_by_role("img", name=f"Workers of {QUEUE}: wanted, serving, starting")
    for line, number in (("wanted", "3"), ("serving", "2"), ("starting", "1"), ("at most", "4")):
        row = chart.locator(".u-series", has_text=line)
        await expect(row.locator(".u-value")).to_have_text(number)
    # Where the mouse is, it tells of that moment: of the gap between the two, nothing
    box = await chart.locator(".u-over").bounding_box()
    assert box
    await visitor.page.mouse.move(box["x"] + box["width"] * 0.1, box["y"] + 20)
    await expect(chart.locator(".u-series", has_text="wanted").locator(".u-value")).to_have_text("4")


async def test_it_says_when_nobody_looks(visitor: Visitor, scaler: FleetStore, behind: Backstage) -> None:
    await visitor.go(f"scaler?queue={QUEUE}")
    now = visitor.page.get_by_label("Now", exact=True)
    await expect(now).to_contain_text(f"No scaler has looked at {QUEUE} yet.")

    await scaler.see(QUEUE, CAPPED)
    await expect(now).to_contain_text("Wants 6, capped at 4 by max.")
    await behind.database.write(
        "update fleet_looks set until = until - interval '5 min', at = at - interval '6 min'"
    )
    await expect(now).to_contain_text("what is wanted now is not known")


async def test_limits_are_set_from_the_page(
    visitor: Visitor, scaler: FleetStore, http: httpx2.AsyncClient
) -> None:
    await scaler.see(QUEUE, CAPPED)
    await visitor.go(f"scaler?queue={QUEUE}")
    page = visitor.page
    await page.get_by_label("at most").fill("7")
    await page.get_by_role("button", name="Set limits").click()
    await expect(page.locator("form.actions")).to_contain_text("set by")

    [fleet] = [f for f in (await http.get("/v1/scaler")).json()["fleets"] if f["queue"] == QUEUE]
    assert (fleet["min"], fleet["max"]) == (None, 7)
    await http.put(f"/v1/scaler/{QUEUE}", json={"max": None})


async def test_the_overview_says_that_prices_are_a_setting(visitor: Visitor) -> None:
    await expect(visitor.page.locator(".tile", has_text="Cost")).to_contain_text("prices are a setting")
