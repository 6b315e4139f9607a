"""The catalog's index: the sha256 of every file of every model folder, kept beside the folders.

A digest that lies beside the file it pins protects from nothing, so the index is one file for the whole
catalog (`index.json`), written by whoever publishes models. Only the standard library is used here.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

INDEX_FILE = "index.json"
_FORMAT = 1


class IndexMismatchError(Exception):
    """A file is not what the index pins, or the index itself can't be read."""


def read_index(root: Path) -> dict[str, dict[str, str]]:
    """The pinned digests by folder and file; empty where the catalog has no index (local development).

    Raises:
        IndexMismatchError: There is an index, but it can't be understood.
    """
    source = root / INDEX_FILE
    try:
        content = json.loads(source.read_bytes())
        if content["format"] != _FORMAT:
            raise IndexMismatchError(
                f"{source}: format {content['format']!r} is not {_FORMAT}; write the index again"
            )
        return {str(folder): dict(files) for folder, files in content["models"].items()}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise IndexMismatchError(f"{source}: not a catalog index ({error}); write the index again") from error


def write_index(root: Path) -> Path:
    """Pin every model folder under `root` as it is now; atomic. Returns the index's path."""
    folders = sorted(entry.parent for entry in root.glob("*/model.toml"))
    content = {"format": _FORMAT, "models": {folder.name: digests_of(folder) for folder in folders}}
    target = root / INDEX_FILE
    with tempfile.NamedTemporaryFile("w", dir=root, prefix=".index-", delete=False) as draft:
        json.dump(content, draft, indent=2)
        draft.flush()
        os.fsync(draft.fileno())
    Path(draft.name).chmod(0o644)
    return Path(draft.name).replace(target)


def verify_folder(folder: Path, digests: dict[str, str]) -> None:
    """Compare a folder with its pinned digests.

    Raises:
        IndexMismatchError: A file differs, is missing, or is not in the index.
    """
    found = digests_of(folder)
    for name in sorted(found.keys() | digests.keys()):
        if complaint := _compare(found.get(name), digests.get(name)):
            remedy = f"restore it, or pin it as it is now: python -m shared.catalog {folder.parent}"
            raise IndexMismatchError(f"{folder / name}: {complaint}; {remedy}")


def _compare(found: str | None, pinned: str | None) -> str | None:
    if pinned is None:
        return "not in the catalog's index"
    if found is None:
        return "missing, but in the catalog's index"
    return None if found == pinned else f"its sha256 is {found}, the index pins {pinned}"


def digests_of(folder: Path) -> dict[str, str]:
    """The sha256 of every file in a folder, by its path inside."""
    return {path.relative_to(folder).as_posix(): _sha256(path) for path in _files(folder)}


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())  # bytecode too: Python would run it


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
