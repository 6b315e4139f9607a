"""Takes the pictures: a window of one size, both themes, as PNG; some as a sheet of PDF too, to engrave."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from playwright.async_api import Browser, Page, async_playwright, expect

from tests.dashboard.visitor import Visitor
from tests.pictures.work import Done

WIDTH, HEIGHT = 1280, 800
NARROW = 390
THEMES: tuple[Literal["light", "dark"], ...] = ("dark", "light")
MARGIN = 8
SETTLE_MS = 1500
"""For charts and pictures that come after the text."""
PLAINLY = """() => {
    for (const element of document.querySelectorAll('main *')) {
        if (getComputedStyle(element).backgroundImage.includes('repeating-linear-gradient')) {
            element.style.backgroundImage = 'none'
            element.style.backgroundColor = 'var(--running)'
        }
    }
}"""
"""A hatched bar becomes a plain one: a sheet keeps a gradient as a raster."""


@dataclass(frozen=True, slots=True)
class Camera:
    """Somebody who is logged in and takes pictures into a folder."""

    visitor: Visitor
    folder: Path
    theme: str

    async def take(self, name: str, path: str) -> None:
        """A page as it is seen."""
        await self.visitor.go(path)
        await self._settled()
        await self._shoot(name)

    async def take_try(self, picture: Path) -> None:
        """A picture is dropped on a model; its result stands beside it."""
        await self.visitor.go("models")
        row = self.visitor.page.locator('tr[data-name="cutout"]')
        await self.visitor.drop(row, picture.name, picture.read_bytes(), "image/png")
        await self.visitor.step("Result", "succeeded")
        await self._settled()
        await self._shoot("try")

    async def print_sheet(self, name: str, *, above: str) -> Path:
        """What is seen now as PDF, one sheet as wide as the window, as a screen shows it.

        Args:
            name: The file's.
            above: The sheet ends where this element begins: charts are canvases, which no sheet keeps sharp.
        """
        page, sheet = self.visitor.page, self.folder / f"{name}.pdf"
        end = await page.locator(above).first.bounding_box()
        assert end is not None, above
        height = f"{min(HEIGHT, round(end['y'] - MARGIN))}px"
        await page.evaluate(PLAINLY)
        await page.emulate_media(media="screen")
        await page.pdf(path=sheet, width=f"{WIDTH}px", height=height, print_background=True, page_ranges="1")
        return sheet

    async def _settled(self) -> None:
        page = self.visitor.page
        await expect(page.locator(".skeleton")).to_have_count(0)
        await page.wait_for_timeout(SETTLE_MS)

    async def _shoot(self, name: str) -> None:
        await self.visitor.page.screenshot(path=self.folder / f"{name}-{self.theme}.png")


def pages(done: Done) -> dict[str, str]:
    """By name every page that is worth a picture, with its address."""
    return {
        "overview": "",
        "jobs": "jobs",
        "job": f"jobs/{done.cutout}",
        "job-failed": f"jobs/{done.failed}",
        "failures": "failures",
        "queues": "queues",
        "workers": "workers",
        "scaler": "scaler",
        "models": "models",
        "settings": "settings",
    }


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """Debian's Chromium."""
    async with async_playwright() as playwright:
        opened = await playwright.chromium.launch(executable_path=program("chromium"), args=["--no-sandbox"])
        yield opened
        await opened.close()


@asynccontextmanager
async def camera(
    opened: Browser, url: str, key: str, folder: Path, theme: Literal["light", "dark"], *, width: int = WIDTH
) -> AsyncIterator[Camera]:
    """A clean browser, logged in, in one theme."""
    context = await opened.new_context(
        viewport={"width": width, "height": HEIGHT}, color_scheme=theme, reduced_motion="reduce"
    )
    page: Page = await context.new_page()
    page.set_default_timeout(60_000)
    visitor = Visitor(page, url, key)
    await visitor.log_in()
    yield Camera(visitor, folder, theme if width == WIDTH else f"{theme}-{width}")
    await context.close()


def program(name: str, package: str | None = None) -> str:
    """Where a program is.

    Raises:
        SystemExit: It is not installed.
    """
    if found := shutil.which(name):
        return found
    raise SystemExit(f"{name} is missing: apt-get install {package or name}")
