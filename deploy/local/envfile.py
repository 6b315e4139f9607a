"""Files of variables for `source`: written whole or not at all, readable by their owner alone."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def write(file: Path, variables: Mapping[str, str]) -> None:
    """Replace the file by these variables."""
    text = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
    replace(file, text)


def replace(file: Path, text: str) -> None:
    """Replace a file by this text, mode 0600 from the first byte on."""
    fresh = file.with_name(file.name + ".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())  # a rename can reach the disk before the bytes do
    fresh.replace(file)


def read(file: Path) -> dict[str, str]:
    """The variables of such a file; none when it is absent."""
    if not file.exists():
        return {}
    words = shlex.split(file.read_text(), comments=True)
    return dict(word.split("=", 1) for word in words if "=" in word)
