"""Reads `name=value` words of a command line. Standard library only.

`name=@file` is a file (`@-` is stdin), `name=s3://…` and `name=https://…` are references, anything else is
JSON if it parses and text if it doesn't; where the model wants text it stays as typed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.client.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def split_values(words: Iterable[str]) -> dict[str, str]:
    """The words as names and texts.

    Raises:
        InputError: A word has no `=`, no name, or a name that came before.
    """
    values: dict[str, str] = {}
    for word in words:
        name, found, text = word.partition("=")
        if not found or not name:
            raise InputError(f"{word!r} is no name=value; a file is name=@path")
        if name in values:
            raise InputError(f"{name} is given twice")
        values[name] = text
    return values


def read_values(words: Iterable[str], schema: Mapping[str, Any]) -> dict[str, Any]:
    """The words as values for `submit`.

    Args:
        words: `name=value`, as typed.
        schema: The model, as the gateway describes it.

    Raises:
        InputError: A word is malformed, or a file is not there.
    """
    textual = _textual_names(schema)
    return {name: _read(name, text, raw=name in textual) for name, text in split_values(words).items()}


def _read(name: str, text: str, *, raw: bool) -> Any:
    if text == "@-":
        return sys.stdin.buffer.read()
    if text.startswith("@"):
        return _existing(name, Path(text[1:]).expanduser())
    if raw:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def is_file(value: object) -> bool:
    """Whether the word named a file, so that it can be nothing but an input."""
    return isinstance(value, Path | bytes)


def _existing(name: str, path: Path) -> Path:
    if not path.is_file():
        raise InputError(f"{name}: there is no file {str(path)!r}")
    return path


def _textual_names(schema: Mapping[str, Any]) -> set[str]:
    """Names whose value is text, so that `size=12` stays a number and `note=12` does not become one."""
    inputs = schema.get("inputs") or {}
    params = (schema.get("params") or {}).get("properties") or {}
    texts = {name for name, wanted in inputs.items() if wanted.get("kind") != "json"}
    return texts | {name for name, wanted in params.items() if wanted.get("type") == "string"}
