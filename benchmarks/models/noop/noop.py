"""A JSON value in, the same value out."""

from __future__ import annotations

from typing import Any


def noop(value: Any) -> Any:
    """Return `value`."""
    return value
