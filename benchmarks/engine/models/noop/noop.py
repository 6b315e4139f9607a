"""A JSON value in, nothing out."""

from __future__ import annotations

from typing import Any


def noop(value: Any) -> None:
    """Ignore `value`."""
