"""The catalog's index: the sha256 of every file of every model folder, kept beside the folders.

A digest that lies beside the file it pins protects from nothing, so the index is one file for the whole
catalog (`index.json`), written by whoever publishes models. Only the standard library is used here.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

INDEX_FILE = "index.json"
_FORMAT = 1
_DIGEST = re.compile(r"[0-9a-f]{64}")

Digests = dict[str, str]
"""The sha256 of each file of a model's folder, in hexadecimal, by its path inside."""


class IndexMismatchError(Exception):
    """A file is not what the index pins, or the index itself can't be read."""


def read_index(root: Path) -> dict[str, Digests]:
    """The pinned digests by folder; empty where the catalog has no index (local development).

    Raises:
        IndexMismatchError: There is an index, but it can't be understood.
    """
    source = root / INDEX_FILE
    try:
        content = source.read_bytes()
    except FileNotFoundError:
        return {}
    return parse_index(content, str(source))


def parse_index(content: bytes, source: str) -> dict[str, Digests]:
    """The pinned digests by folder.

    Args:
        content: The index as it is stored.
        source: Its name, for errors.

    Raises:
        IndexMismatchError: It is no index, or it names a file that would lie outside its folder.
    """
    try:
        said = json.loads(content)
        if said["format"] != _FORMAT:
            raise IndexMismatchError(f"{source}: format {said['format']!r} is not {_FORMAT}; write it again")
        return {_folder(name): _digests(files) for name, files in said["models"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise IndexMismatchError(f"{source}: not a catalog index ({error}); write the index again") from error


def _folder(name: str) -> str:
    if not name or name.startswith(".") or "/" in name or not name.isprintable():
        raise ValueError(f"{name!r} is no name of a folder")
    return name


def _digests(files: Mapping[str, Any]) -> Digests:
    for name, digest in files.items():
        path = PurePosixPath(name)
        if not name.isprintable() or path.as_posix() != name or path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{name!r} is no path inside a folder")
        if not _DIGEST.fullmatch(digest):
            raise ValueError(f"{name}: {digest!r} is no sha256")
    return dict(files)


def index_text(models: Mapping[str, Digests]) -> str:
    """An index as it is stored; equal for equal content."""
    return json.dumps({"format": _FORMAT, "models": dict(sorted(models.items()))}, indent=2)


def write_index(root: Path) -> Path:
    """Pin every model folder under `root` as it is now; atomic. Returns the index's path."""
    folders = sorted(entry.parent for entry in root.glob("*/model.toml"))
    target = root / INDEX_FILE
    with tempfile.NamedTemporaryFile("w", dir=root, prefix=".index-", delete=False) as draft:
        draft.write(index_text({folder.name: digests_of(folder) for folder in folders}))
        draft.flush()
        os.fsync(draft.fileno())
    Path(draft.name).chmod(0o644)
    return Path(draft.name).replace(target)


def verify_folder(folder: Path, digests: Digests) -> None:
    """Compare a folder with its pinned digests.

    Raises:
        IndexMismatchError: A file differs, is missing, or is not in the index.
    """
    for name, complaint in differences(folder, digests):
        remedy = f"restore it, or pin it as it is now: python -m shared.catalog {folder.parent}"
        raise IndexMismatchError(f"{folder / name}: {complaint}; {remedy}")


def differences(folder: Path, digests: Digests) -> Iterator[tuple[str, str]]:
    """Every file that is not as it is pinned, with what is wrong with it (reads them all)."""
    found = digests_of(folder)
    yield from ((name, LEADS_OUT) for name in links_out(folder))
    for name in sorted(found.keys() | digests.keys()):
        if complaint := _compare(found.get(name), digests.get(name)):
            yield name, complaint


LEADS_OUT = "a link to a folder outside of the model's, so what lies there cannot be pinned: put a copy there"


def links_out(folder: Path) -> Iterator[str]:
    """Folders in a model's folder that are links and lead out of it: no digest covers what is in them."""
    here = folder.resolve()
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() and path.is_dir() and not path.resolve().is_relative_to(here):
            yield path.relative_to(folder).as_posix()


def _compare(found: str | None, pinned: str | None) -> str | None:
    if pinned is None:
        return "not in the catalog's index"
    if found is None:
        return "missing, but in the catalog's index"
    return None if found == pinned else f"its sha256 is {found}, the index pins {pinned}"


def digests_of(folder: Path) -> Digests:
    """The sha256 of every file in a folder, by its path inside."""
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in _files(folder)}


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())  # bytecode too: Python would run it


def sha256_of(path: Path) -> str:
    """The digest of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
