"""Text that PostgreSQL, Redis and JSON all take. Pure: imports nothing but the standard library.

What an algorithm says of itself can hold anything: NUL, which PostgreSQL's JSON refuses, and lone surrogates
(`os.fsdecode` makes them), which no UTF-8 has. Neither may cost a job its result or a worker its life.
"""

from __future__ import annotations

from typing import Any

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def clean_text(text: str) -> str:
    """The text with NUL and lone surrogates replaced."""
    return text.encode("utf-8", "replace").decode().replace("\0", REPLACEMENT)


def clean(value: Any) -> Any:
    """A JSON value with every text in it cleaned, keys included."""
    match value:
        case str():
            return clean_text(value)
        case dict():
            return {clean_text(str(key)): clean(item) for key, item in value.items()}
        case list() | tuple():
            return [clean(item) for item in value]
    return value
