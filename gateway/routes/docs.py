"""The documentation pages. They load nothing from anywhere else: an installation may have no way out."""

from __future__ import annotations

import html
import re
from importlib.resources import files

from fastapi import APIRouter, Response

from gateway.problems import KINDS, Kind
from shared.errors import NotFound

router = APIRouter(include_in_schema=False)

_PAGES = {
    "docs.css": "text/css; charset=utf-8",
    "docs.js": "text/javascript; charset=utf-8",
}
_CODE = re.compile(r"`([^`]+)`")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


@router.get("/docs")
async def docs() -> Response:
    """The API, drawn from /openapi.json by a script of our own."""
    return _page("docs.html", "text/html; charset=utf-8")


@router.get("/docs/errors")
async def errors() -> Response:
    """Every error code: the `type` of a problem points here."""
    page = _read("errors.html").replace("{{errors}}", "".join(_section(kind) for kind in KINDS.values()))
    return Response(page, headers=_HEADERS, media_type="text/html; charset=utf-8")


@router.get("/docs/{name}")
async def asset(name: str) -> Response:
    """A script or style of the pages."""
    if name not in _PAGES:
        raise NotFound("there is no such page")
    return _page(name, _PAGES[name])


def _page(name: str, media_type: str) -> Response:
    return Response(_read(name), headers=_HEADERS, media_type=media_type)


def _read(name: str) -> str:
    return files("gateway").joinpath("pages", name).read_text(encoding="utf-8")


def _prose(text: str) -> str:
    """Escaped, with what stands between backticks as code."""
    return _CODE.sub(r"<code>\1</code>", html.escape(text))


def _section(kind: Kind) -> str:
    title, meaning = _prose(kind.title), _prose(kind.meaning)
    return f'<section id="{kind.code}"><h2><code>{kind.code}</code> <small>{kind.status}</small></h2>\
<p><b>{title}.</b> {meaning}</p></section>\n'
