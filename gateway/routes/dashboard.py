"""The dashboard's built page. Everything it loads lies beside it: an installation may have no way out.

What is in `gateway/pages/dashboard` comes from a build and is no source; without it one plain page says so.
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.responses import FileResponse

from shared.errors import NotFound

router = APIRouter(include_in_schema=False)

BUILT = Path(str(files("gateway").joinpath("pages", "dashboard")))
UNBUILT = Path(str(files("gateway").joinpath("pages", "unbuilt.html")))
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
ALWAYS_ASK = {"Cache-Control": "no-cache"}
FOR_EVER = {"Cache-Control": "public, max-age=31536000, immutable"}
"""For files whose name has their content's hash in it."""
ENCODINGS = (("br", ".br"), ("gzip", ".gz"))

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_TYPES = {".js": "text/javascript", ".woff2": "font/woff2", ".svg": "image/svg+xml"}


@router.get("/")
async def home(request: Request) -> Response:
    """The dashboard, or how to build it."""
    page = BUILT / "index.html"
    return _file(page if page.is_file() else UNBUILT, request, ALWAYS_ASK)


@router.get("/favicon.svg")
async def icon(request: Request) -> Response:
    """The page's icon."""
    return _file(BUILT / "favicon.svg", request, ALWAYS_ASK)


@router.get("/assets/{name}")
async def asset(request: Request, name: str) -> Response:
    """A script, style, font or picture of the page."""
    if not _NAME.fullmatch(name):
        raise NotFound("there is no such page")
    return _file(BUILT / "assets" / name, request, FOR_EVER)


def _file(path: Path, request: Request, caching: Mapping[str, str]) -> Response:
    """A file, packed where the build packed it and the browser takes it."""
    if not path.is_file():
        raise NotFound("there is no such page")
    accepted = {
        word.partition(";")[0].strip() for word in request.headers.get("accept-encoding", "").split(",")
    }
    headers = {**HEADERS, **caching, "Vary": "Accept-Encoding"}
    for encoding, suffix in ENCODINGS:
        packed = path.with_name(path.name + suffix)
        if encoding in accepted and packed.is_file():
            return FileResponse(
                packed, headers={**headers, "Content-Encoding": encoding}, media_type=_type(path)
            )
    return FileResponse(path, headers=headers, media_type=_type(path))


def _type(path: Path) -> str:
    return _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
