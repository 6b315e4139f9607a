"""`python -m tests.pictures [--docs]`: real work on the local stack, and pictures of the dashboard with it.

PNG of each page, light and dark, go to build/pictures. With --docs the README's pictures are made anew as
well: SVG of paths alone, in docs/pictures.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from deploy import dashboard
from deploy.local.failure import StackError
from deploy.local.progress import Progress
from deploy.local.stack import Stack
from gateway.client import AsyncClient
from tests.pictures.camera import NARROW, THEMES, Camera, browser, camera, pages, program
from tests.pictures.engraving import engrave
from tests.pictures.work import Done, burst, stream, work_through
from tests.stack import ROOT

INTO = ROOT / "build" / "pictures"
DOCS = ROOT / "docs" / "pictures"
SECOND_RESULT = ".side:last-child > div:nth-of-type(2)"
ENGRAVED = {
    "overview": ("light", "section.over"),
    "job": ("dark", SECOND_RESULT),
    "try": ("light", SECOND_RESULT),
}
"""Page by page the theme, and above what the picture ends."""


def main() -> int:
    """Take them; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.pictures", description=__doc__)
    parser.add_argument("--docs", action="store_true", help="make docs/pictures/*.svg anew")
    parser.add_argument("--folder", type=Path, default=ROOT / ".leveret", help="the stack's")
    asked = parser.parse_args()
    program("chromium")
    try:
        if not dashboard.up_to_date():
            dashboard.build()
        asyncio.run(_pictures(Stack(asked.folder, Progress()), docs=asked.docs))
    except (dashboard.DashboardError, StackError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


async def _pictures(stack: Stack, *, docs: bool) -> None:
    """Of a stack that runs, or else of one that runs for this alone."""
    ran_before = await stack.healthy()
    await stack.up()
    try:
        await _take(stack, docs=docs)
    finally:
        if not ran_before:
            await stack.down()


async def _take(stack: Stack, *, docs: bool) -> None:
    url, key = stack.access["LEVERET_URL"], stack.access["LEVERET_API_KEY"]
    picture = stack.folder / "sample" / "astronaut.png"
    INTO.mkdir(parents=True, exist_ok=True)
    async with AsyncClient(url, key) as client:
        done = await work_through(client, picture)
        async with stream(client, picture), browser() as opened:
            for theme in THEMES:
                await burst(client, picture)
                async with camera(opened, url, key, INTO, theme) as taken:
                    await _each_page(taken, done, picture, docs=docs)
            async with camera(opened, url, key, INTO, "light", width=NARROW) as taken:
                for name, path in pages(done).items():
                    await taken.take(name, path)
    sys.stdout.write(f"{len(list(INTO.glob('*.png')))} pictures in {INTO.relative_to(ROOT)}\n")


async def _each_page(taken: Camera, done: Done, picture: Path, *, docs: bool) -> None:
    for name, path in pages(done).items():
        await taken.take(name, path)
        if docs:
            await _engrave(taken, name)
    await taken.take_try(picture)
    if docs:
        await _engrave(taken, "try")


async def _engrave(taken: Camera, name: str) -> None:
    """What is seen now, if it is one of the README's in its theme."""
    theme, above = ENGRAVED.get(name, ("", ""))
    if theme != taken.theme:
        return
    DOCS.mkdir(parents=True, exist_ok=True)
    sheet = await taken.print_sheet(name, above=above)
    size = engrave(sheet, DOCS / f"{name}.svg", pdftocairo=program("pdftocairo", "poppler-utils"))
    sys.stdout.write(f"docs/pictures/{name}.svg: {size} bytes\n")


if __name__ == "__main__":
    sys.exit(main())
