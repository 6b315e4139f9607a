"""The cache of a catalog that lies elsewhere: files by their digest, and model folders made of them.

    files/<sha256>                       a file, once, however many versions have it
    folders/<sha256 of the entry>/<name> a model's folder, whole, of links to such files
    drafts/…                             what is not finished; nobody reads there
    turns/…                              who is at work on what, of all processes of this machine

What can be seen under `files` and `folders` is complete and was what its name says when it came there.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO

from shared.catalog.index import differences, sha256_of

LOOK_S = 0.1
"""Between two looks whether another process has finished: its turn ends with it, however it ends."""


def default_root() -> Path:
    """The user's own cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "leveret" / "catalog"


class Cache:
    """A folder that the processes of one machine share."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for room in ("files", "folders", "drafts", "turns"):
            (root / room).mkdir(parents=True, exist_ok=True)

    def file(self, digest: str) -> Path:
        """Where a file is, or will be."""
        return self.root / "files" / digest

    def folder(self, name: str, digests: Mapping[str, str]) -> Path:
        """Where a model's folder is, or will be."""
        return self.root / "folders" / entry_digest(name, digests) / name

    def draft(self, digest: str) -> Path:
        """Where a file may be written by whoever has its turn."""
        return self.root / "drafts" / digest

    def has_file(self, digest: str) -> bool:
        """Whether a file is here and sound (reads it); one that is damaged is removed."""
        path = self.file(digest)
        if not path.is_file():
            return False
        sound = sha256_of(path) == digest
        if not sound:
            path.unlink(missing_ok=True)
        return sound

    def keep(self, digest: str) -> None:
        """Let a finished draft be seen."""
        self.draft(digest).chmod(0o444)  # linked into folders: a write there would change them all
        self.draft(digest).replace(self.file(digest))

    def has_folder(self, name: str, digests: Mapping[str, str]) -> bool:
        """Whether a model's folder is here and sound (reads it); one that is damaged is put aside."""
        place = self.folder(name, digests)
        if not place.is_dir():
            return False
        sound = not any(differences(place, dict(digests)))
        if not sound:
            self._put_aside(place.parent)
        return sound

    def assemble(self, name: str, digests: Mapping[str, str]) -> Path:
        """Make a model's folder of files that are here; it appears whole or not at all.

        Raises:
            OSError: The disk does not take it.
        """
        place = self.folder(name, digests)
        draft = self.draft(place.parent.name)
        shutil.rmtree(draft, ignore_errors=True)  # of a process that was killed at this
        for file, digest in digests.items():
            _link(self.file(digest), draft / name / file)
        try:
            draft.rename(place.parent)
        except OSError:
            if not place.is_dir():  # on a disk without locks somebody else was first, with the same files
                raise
        return place

    @asynccontextmanager
    async def turn(self, digest: str) -> AsyncIterator[None]:
        """Be the only one on this machine who brings this file or makes this folder."""
        with (self.root / "turns" / digest).open("ab") as handle:
            while not _locked(handle):  # noqa: ASYNC110  another process signals nothing
                await asyncio.sleep(LOOK_S)
            yield

    def _put_aside(self, folder: Path) -> None:
        aside = self.draft(f"{folder.name}-damaged")
        shutil.rmtree(aside, ignore_errors=True)
        with suppress(FileNotFoundError):
            folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def entry_digest(name: str, digests: Mapping[str, str]) -> str:
    """What names a model's folder in the cache: any other file or digest gives another."""
    return hashlib.sha256(json.dumps([name, sorted(digests.items())]).encode()).hexdigest()


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:  # a file system without links, or too many of one file
        shutil.copyfile(source, target)


def _locked(handle: IO[bytes]) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
