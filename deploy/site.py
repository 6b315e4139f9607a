"""`python -m deploy.site [FOLDER]`: the documentation as a site of plain files, in build/docs by default.

Zensical makes the pages and refuses links and anchors that lead nowhere. What it made is looked at here:
every address within the site is a file, and nothing is loaded from outside.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "docs" / "zensical.toml"
LINK = re.compile(r"\]\(([^)\s]+)\)")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
BUILD_S = 120
LOADED = {("script", "src"), ("link", "href"), ("img", "src"), ("iframe", "src"), ("source", "src")}
"""What a browser asks for by itself."""


class SiteError(Exception):
    """The site is not as it has to be; the text lists what is wrong."""


def build(place: Path) -> Path:
    """Build the site below `place`, which is emptied first; returns its folder.

    Raises:
        SiteError: A link, an anchor or an address leads nowhere, or something is loaded from outside.
    """
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    shutil.copy(CONFIG, place)
    stage(place / "pages")
    words = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    done = subprocess.run(words, cwd=place, capture_output=True, text=True, timeout=BUILD_S, check=False)
    if done.returncode != 0:
        raise SiteError(COLOUR.sub("", done.stdout + done.stderr).partition("Traceback")[0])
    if wrong := list(problems(place / "site")):
        raise SiteError("\n".join(wrong))
    return place / "site"


def stage(target: Path) -> None:
    """Copy all pages, and whatever files they link to, as they lie in the checkout."""
    for page in pages():
        for file in (page, *linked(page)):
            copy = target / file.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy)


def pages() -> list[Path]:
    """The Markdown at the root, under docs/ and under examples/."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
    return sorted(page for page in found if "/." not in f"/{page.relative_to(ROOT)}")


def linked(page: Path) -> Iterator[Path]:
    """The files of the checkout that a page links to."""
    for target in LINK.findall(page.read_text()):
        file = (page.parent / target.partition("#")[0]).resolve()
        if "://" not in target and file.is_file() and file.is_relative_to(ROOT):
            yield file


def problems(site: Path) -> Iterator[str]:
    """What is wrong with the built pages."""
    for page in sorted(site.rglob("*.html")):
        addresses = _Addresses()
        addresses.feed(page.read_text())
        for tag, name, target in addresses.found:
            if why := _wrong(site, page, target, loaded=(tag, name) in LOADED):
                yield f"{page.relative_to(site)}: {target}: {why}"


def _wrong(site: Path, page: Path, target: str, *, loaded: bool) -> str:
    parts = urlsplit(target)
    if parts.scheme == "data" or not (parts.scheme or parts.netloc or parts.path):
        return ""
    if parts.scheme or parts.netloc:
        return "is loaded from outside" if loaded else ""
    base = site if parts.path.startswith("/") else page.parent
    file = base / unquote(parts.path).lstrip("/")
    return "" if (file / "index.html" if file.is_dir() else file).is_file() else "is not there"


class _Addresses(HTMLParser):
    """Every `href` and `src`, with its tag."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [(tag, name, value) for name, value in attrs if name in {"href", "src"} and value]


def main() -> int:
    """Build into the folder named on the command line."""
    place = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build" / "docs")
    try:
        print(f"{build(place) / 'index.html'}")
    except SiteError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
