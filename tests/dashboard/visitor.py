"""Somebody at the dashboard: what they do by name, and what no visit may bring about."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.async_api import ConsoleMessage, Locator, Page, Request, expect

EXPECTED = ("401 (Unauthorized)", "/v1/live")
"""Before the login nobody is known; a closed socket is told by the browser itself."""

PAINTED = (
    "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))"
)


@dataclass  # no slots: Playwright notes its listeners on the object
class Visitor:
    """A page, the gateway it is of, and a key."""

    page: Page
    url: str
    key: str
    complaints: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Note every failing script, every forbidden act and every request to anybody else."""
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))
        self.page.on("request", self._asked)
        self.page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))

    def _heard(self, message: ConsoleMessage) -> None:
        expected = any(word in f"{message.text} {message.location}" for word in EXPECTED)
        if message.type in {"error", "warning"} and not expected:
            self.complaints.append(f"console: {message.text}")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((f"{self.url}/", "blob:", "data:")):
            self.complaints.append(f"elsewhere: {request.url}")

    async def arrive(self) -> None:
        await self.page.goto(self.url)
        await expect(self.page.get_by_label("API key")).to_be_visible()

    async def log_in(self) -> None:
        await self.arrive()
        await self.page.get_by_label("API key").fill(self.key)
        await self.page.keyboard.press("Enter")
        await self.is_live()

    async def is_live(self) -> None:
        await expect(self.dot).to_have_text("Live")

    @property
    def dot(self) -> Locator:
        return self.page.locator("button.live")

    async def go(self, path: str) -> None:
        """To a page of the dashboard, as a link does."""
        await self.page.evaluate("path => { location.hash = `#/${path}` }", path)

    async def see(self, path: str) -> None:
        """The same, and wait until what was asked for is there or has failed."""
        await self.go(path)
        await self.page.evaluate(PAINTED)
        await self.page.wait_for_function(
            "() => !document.querySelector('.skeleton, .media[aria-busy=true]')"
        )

    async def wear(self, theme: str) -> None:
        """The light colours or the dark ones, by the button in the header."""
        root = self.page.locator("html")
        if await root.get_attribute("data-theme") != theme:
            await self.page.get_by_role("button", name=re.compile(theme, re.IGNORECASE)).click()
        await expect(root).to_have_attribute("data-theme", theme)

    async def shot(self, name: str) -> None:
        """Keep a picture for the eyes, where `DASHBOARD_SHOTS` names a folder."""
        if folder := os.environ.get("DASHBOARD_SHOTS"):
            path = Path(folder) / f"{re.sub('[^a-z0-9]+', '-', name).strip('-') or 'overview'}.png"
            await self.page.screenshot(path=path, full_page=True)

    async def drop(self, target: Locator, name: str, body: bytes, kind: str) -> None:
        """Drop a file there, as a hand does."""
        carried = await self.page.evaluate_handle(
            """([name, bytes, type]) => {
                const carried = new DataTransfer()
                carried.items.add(new File([new Uint8Array(bytes)], name, { type }))
                return carried
            }""",
            [name, list(body), kind],
        )
        for event in ("dragenter", "dragover", "drop"):
            await target.dispatch_event(event, {"dataTransfer": carried})

    async def step(self, name: str, said: str) -> None:
        """Wait until a step of a try says so."""
        await expect(self.page.locator(".step", has_text=name)).to_contain_text(said, timeout=60_000)


async def finished(http: Any, job_id: str, state: str) -> dict[str, Any]:
    """The job as it ended, by one held answer after the other."""
    async with http.stream(
        "GET", f"/v1/jobs/{job_id}/events", headers={"Accept": "text/event-stream"}
    ) as answer:
        async for _ in answer.aiter_lines():
            pass
    job: dict[str, Any] = (await http.get(f"/v1/jobs/{job_id}")).json()
    assert job["state"] == state, job
    return job
