"""The dashboard's page: served packed, kept for ever where its name allows it, and nothing beside it."""

from __future__ import annotations

import gzip
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI

from gateway.problems import Problems
from gateway.routes import dashboard

pytestmark = pytest.mark.anyio


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "dashboard"
    (folder / "assets").mkdir(parents=True)
    monkeypatch.setattr(dashboard, "BUILT", folder)
    return folder


@pytest.fixture
async def browser() -> AsyncIterator[httpx2.AsyncClient]:
    app = FastAPI(openapi_url=None)
    Problems("http://gateway").install(app)
    app.include_router(dashboard.router)
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as client:
        yield client


async def test_without_a_build_one_page_says_so(browser: httpx2.AsyncClient, built: Path) -> None:
    page = await browser.get("/")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "make dashboard" in page.text
    assert not re.search(r"<style|<script|style=|https?://", page.text)


async def test_the_page_is_asked_for_each_time_and_its_assets_once(
    browser: httpx2.AsyncClient, built: Path
) -> None:
    (built / "index.html").write_text("<!doctype html>")
    (built / "assets" / "index-4f2a.js").write_text("run()")
    page, script = await browser.get("/"), await browser.get("/assets/index-4f2a.js")
    assert (page.text, page.headers["cache-control"]) == ("<!doctype html>", "no-cache")
    assert (script.text, script.headers["content-type"]) == ("run()", "text/javascript; charset=utf-8")
    assert script.headers["cache-control"] == "public, max-age=31536000, immutable"
    for answer in (page, script):
        policy = answer.headers["content-security-policy"]
        assert policy.startswith(
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
        )
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["referrer-policy"] == "no-referrer"


async def test_what_the_build_packed_is_sent_packed(browser: httpx2.AsyncClient, built: Path) -> None:
    (built / "assets" / "a.css").write_text("plain")
    (built / "assets" / "a.css.gz").write_bytes(gzip.compress(b"packed"))
    taken = await browser.get("/assets/a.css", headers={"Accept-Encoding": "gzip, br;q=0.5"})
    assert (taken.text, taken.headers["content-encoding"], taken.headers["vary"]) == (
        "packed",
        "gzip",
        "Accept-Encoding",
    )
    assert taken.headers["content-type"].startswith("text/css")
    assert (await browser.get("/assets/a.css", headers={"Accept-Encoding": "identity"})).text == "plain"


@pytest.mark.parametrize("name", ["..%2findex.html", ".env", "%2e%2e", "nothing.js", "a%00b", "..\\x"])
async def test_nothing_beside_the_assets_is_served(
    browser: httpx2.AsyncClient, built: Path, name: str
) -> None:
    (built / "index.html").write_text("<!doctype html>")
    (built / "assets" / ".env").write_text("secret")
    answer = await browser.get(f"/assets/{name}")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
