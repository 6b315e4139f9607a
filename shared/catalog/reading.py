"""Where a catalog is read from: a port, and the folder on this machine that stands behind it.

The other one, a bucket, is an adapter. Nobody asks a source twice at the same time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from shared.catalog.index import INDEX_FILE, sha256_of
from shared.catalog.loading import MODEL_FILE, Catalog, load_catalog, model_folders
from shared.catalog.model import CatalogError, Model

Stamp = tuple[tuple[str, int, int], ...]
"""Name, size and time of change of every file: cheap, and enough to see that somebody was there."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A catalog as it was found.

    Attributes:
        catalog: The models that can be had.
        faults: By `name@version`, what is wrong with a model that is listed and could not be brought here.
        stamps: By `name@version`, what tells whether the files of an unpinned model have changed.
    """

    catalog: Catalog
    faults: Mapping[str, str] = field(default_factory=dict)
    stamps: Mapping[str, Stamp] = field(default_factory=dict)


class Source(Protocol):
    """A place with models."""

    async def read(self) -> Reading | None:
        """The catalog as it is now; None when it is as it was found the last time.

        Raises:
            CatalogError: It is wrong.
            StoreError: It can't be reached.
        """


class FolderSource:
    """A folder of model folders."""

    def __init__(self, path: str) -> None:
        self._root = Path(path)
        self._seen: object = None

    async def read(self) -> Reading | None:
        """Look at the files' names and times, and read them only where those have changed."""
        try:
            return await asyncio.to_thread(self._read)
        except OSError as error:  # somebody is at work there, or the disk is away
            raise CatalogError(f"{error.filename or self._root}: {error.strerror}") from error

    def _read(self) -> Reading | None:
        # Before the reading: whatever changes while we read is seen the next time.
        stamps = {folder.resolve(): _stamp_of(folder) for folder in model_folders(self._root)}
        now = (stamps, _times(self._root / INDEX_FILE))
        if now == self._seen:
            return None
        models = load_catalog(self._root).models
        self._seen = now
        unpinned = {model.ref: _UNPINNED.format(self._root) for model in models if not _is_pinned(model)}
        return Reading(
            Catalog(tuple(model for model in models if model.ref not in unpinned)),
            faults=unpinned,
            stamps={model.ref: stamps.get(model.folder, ()) for model in models},
        )


_UNPINNED = f"its {MODEL_FILE} is not the one that the index pins; pin it: python -m shared.catalog {{}}"


def _is_pinned(model: Model) -> bool:
    """Somebody who edits a version into the next one changes this file, and pins it a moment later.

    The other files are compared when an engine loads them: they may be gigabytes.
    """
    if model.digests is None:
        return True
    return model.digests.get(MODEL_FILE) == sha256_of(model.folder / MODEL_FILE)


def _stamp_of(folder: Path) -> Stamp:
    return tuple(
        (path.relative_to(folder).as_posix(), *_times(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts  # bytecode is written by whoever runs it
    )


def _times(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:  # it went away while we looked
        return (0, 0)
    return (found.st_size, found.st_mtime_ns)
