"""JSON answers, written once."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from starlette.responses import Response


class Json(Response):
    """A document as it stands: it was checked where it came from."""

    media_type = "application/json"

    def __init__(self, document: object, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(msgspec.json.encode(document), status, headers)
