"""The documentation's site: it builds, its links lead somewhere, it loads nothing from outside. No server."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from deploy import site
from deploy.site import CONFIG, ROOT, SiteError, build, linked, pages, problems

if TYPE_CHECKING:
    from collections.abc import Iterator

NAVIGATION = tomllib.loads(CONFIG.read_text())["project"]["nav"]


def named(entries: list[Any]) -> Iterator[str]:
    """The pages of a navigation, however deep."""
    for entry in entries:
        for place in entry.values():
            yield from named(place) if isinstance(place, list) else [place]


def test_the_site_builds_with_a_search_and_without_the_web(tmp_path: Path) -> None:
    made = build(tmp_path / "docs")

    assert "Leveret" in (made / "index.html").read_text()
    assert (made / "docs" / "migrate-from-celery.html").is_file()
    assert "acks_late" in (made / "search.json").read_text()
    assert "fonts.g" not in (made / "index.html").read_text()


def test_every_page_can_be_reached_from_the_navigation() -> None:
    reached: set[Path] = set()
    found = {ROOT / place for place in named(NAVIGATION)}
    while found:
        reached |= found
        found = {file for page in found if page.suffix == ".md" for file in linked(page)} - reached
    assert [str(page.relative_to(ROOT)) for page in pages() if page not in reached] == []


def test_an_anchor_that_leads_nowhere_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stage(target: Path) -> None:
        target.mkdir()
        for place in named(NAVIGATION):
            (target / place).parent.mkdir(parents=True, exist_ok=True)
            (target / place).write_text("# A page\n\n[nowhere](#not-here)\n")

    monkeypatch.setattr(site, "stage", stage)
    with pytest.raises(SiteError, match="not-here"):
        build(tmp_path / "docs")


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ('<script src="https://cdn.example/x.js"></script>', "is loaded from outside"),
        ('<link rel="stylesheet" href="//fonts.example/css">', "is loaded from outside"),
        ('<a href="gone.html">', "is not there"),
        ('<img src="picture.png">', "is not there"),
    ],
)
def test_what_is_wrong_with_a_built_page_is_told(tmp_path: Path, made: str, why: str) -> None:
    (tmp_path / "index.html").write_text(f'<a href="https://example.org/"></a><a href="#top"></a>{made}')

    (told,) = problems(tmp_path)

    assert told.endswith(why)
