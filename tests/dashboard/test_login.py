"""In by key, and the key is nowhere afterwards."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from tests.dashboard.visitor import Visitor
from tests.gateway_process import Backstage, GatewayProcess

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

EVERYWHERE = """() => JSON.stringify([
    location.href, document.cookie, { ...localStorage }, { ...sessionStorage }, history.state,
    document.documentElement.outerHTML, [...document.querySelectorAll('input')].map(input => input.value),
])"""


async def test_a_wrong_key_is_refused_and_a_right_one_enters(stranger: Visitor) -> None:
    page = stranger.page
    await stranger.arrive()

    await page.get_by_label("API key").fill("lev_" + "x" * 43)
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("alert")).to_contain_text("unknown")

    await page.get_by_label("API key").fill(stranger.key)
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("navigation", name="Pages")).to_be_visible()


async def test_the_key_is_kept_nowhere_a_script_can_look(visitor: Visitor) -> None:
    assert visitor.key not in await visitor.page.evaluate(EVERYWHERE)
    cookies = {cookie["name"]: cookie for cookie in await visitor.page.context.cookies()}
    assert cookies["leveret_session"]["httpOnly"]
    assert cookies["leveret_session"]["sameSite"] == "Strict"


async def test_a_reload_stays_in_and_a_logout_leaves(visitor: Visitor) -> None:
    await visitor.go("jobs?state=failed")
    await visitor.page.reload()
    await expect(visitor.page.get_by_role("tab", name="failed")).to_have_attribute("aria-selected", "true")

    await visitor.page.get_by_role("button", name="Log out").click()
    await expect(visitor.page.get_by_label("API key")).to_be_visible()
    await visitor.page.reload()
    await expect(visitor.page.get_by_label("API key")).to_be_visible()


async def test_a_users_key_sees_no_operators_page(
    page: Page, gateway: GatewayProcess, behind: Backstage
) -> None:
    visitor = Visitor(page, gateway.url, await behind.key("somebody"))
    visitor.watch()
    await visitor.log_in()
    await expect(page.get_by_role("link", name="Jobs", exact=True)).to_be_visible()
    await expect(page.get_by_role("link", name="Workers", exact=True)).to_have_count(0)

    await visitor.go("workers")
    await expect(page.get_by_text("role operator")).to_be_visible()
    assert visitor.complaints == []
