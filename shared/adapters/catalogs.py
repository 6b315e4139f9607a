"""A catalog in a bucket: `s3://bucket/prefix` with `index.json` and the model folders beside it.

The index is the catalog: it says which folders there are and the digest of each of their files. A file counts
only with the digest that the index pins, so whoever publishes writes the files first and the index last, and
no reader ever sees half of it. Everything is read through the machine's cache.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Protocol

import structlog

from shared.adapters.blobs import open_blobs
from shared.backoff import full_jitter
from shared.catalog import INDEX_FILE, MODEL_FILE, CatalogError, Model, load_catalog, load_model
from shared.catalog.cache import Cache, default_root
from shared.catalog.index import Digests, IndexMismatchError, parse_index
from shared.catalog.loading import Catalog, catalog_of
from shared.catalog.reading import FolderSource, Reading, Source
from shared.errors import InputUnavailable, Misconfigured, StoreError
from shared.settings import CatalogSection, ProcessSettings

log = structlog.get_logger()

SCHEME = "s3://"
MAX_INDEX_BYTES = 16 * 1024 * 1024
TRIES = 4
AGAIN_BASE_S = 0.5
AGAIN_CAP_S = 10.0

Wanted = Callable[[Model], bool]


class Objects(Protocol):
    """The object store, as far as it is read here."""

    def stream(self, ref: str) -> AsyncGenerator[bytes, None]:
        """An object's bytes. Raises InputUnavailable, StoreError."""


def source_of(settings: CatalogSection, objects: Objects, *, wanted: Wanted) -> Source:
    """Where the settings say that the catalog is.

    Args:
        settings: The path, and the cache.
        objects: The store, if the path is in it.
        wanted: Which models' files are needed, besides the model.toml of all.

    Raises:
        Misconfigured: The cache can't be made.
    """
    if not settings.path.startswith(SCHEME):
        return FolderSource(settings.path)
    root = settings.cache or default_root()
    try:
        return BucketSource(objects, settings.path, Cache(root.resolve()), wanted=wanted)
    except OSError as error:
        raise Misconfigured(f"LEVERET_CATALOG_CACHE: {root}: {error.strerror}") from error


async def read_once(settings: ProcessSettings) -> Catalog:
    """The catalog without any model's files, for who needs to know only what there is.

    Raises:
        CatalogError: It is wrong.
        StoreError: It can't be reached.
    """
    if not settings.catalog.path.startswith(SCHEME):
        return load_catalog(settings.catalog.path)
    async with open_blobs(settings.s3) as blobs:
        reading = await source_of(settings.catalog, blobs, wanted=lambda _: False).read()
    return reading.catalog if reading else Catalog()


class BucketSource:
    """A catalog below an `s3://bucket/prefix`."""

    def __init__(self, objects: Objects, path: str, cache: Cache, *, wanted: Wanted) -> None:
        self._root = path.rstrip("/")
        self._fetching = Fetching(objects, self._root, cache)
        self._objects = objects
        self._wanted = wanted
        self._seen: bytes | None = None

    async def read(self) -> Reading | None:
        """Read the index, and bring here what it lists and is missing; None when nothing has changed.

        Raises:
            CatalogError: The index is missing or wrong, or a model.toml is.
            StoreError: The store can't be reached.
        """
        content = await read_index(self._objects, self._root)
        if content == self._seen:
            return None
        entries = _entries(content, self._root)
        heads = [await self._head(name, digests) for name, digests in entries.items()]
        with _said_of(self._root, *(head.folder for head in heads)):
            catalog_of(heads)
        models, faults = [], {}
        for head in heads:
            try:
                models.append(await self._whole(head) if self._wanted(head) else head)
            except (CatalogError, StoreError) as error:
                faults[head.ref] = str(error)
        self._seen = None if faults else content  # what could not be brought is tried again
        return Reading(Catalog(tuple(models)), faults)

    async def _head(self, name: str, digests: Digests) -> Model:
        if MODEL_FILE not in digests:
            raise CatalogError(f"{self._root}/{name}/{MODEL_FILE}: not in the index; publish the model again")
        folder = await self._fetching.folder(name, {MODEL_FILE: digests[MODEL_FILE]})
        with _said_of(self._root, folder):
            return await asyncio.to_thread(load_model, folder, digests, whole=False)

    async def _whole(self, head: Model) -> Model:
        digests = dict(head.digests or {})
        folder = await self._fetching.folder(head.folder.name, digests)
        return await asyncio.to_thread(load_model, folder, digests)


@contextmanager
def _said_of(root: str, *folders: Path) -> Iterator[None]:
    """Name the bucket where a mistake names our copy of it: there it has to be mended."""
    try:
        yield
    except CatalogError as error:
        text = str(error)
        for folder in folders:
            text = text.replace(str(folder), f"{root}/{folder.name}")
        raise CatalogError(text) from error


async def read_index(objects: Objects, root: str) -> bytes:
    """The index as it is stored. It is read whole each time: it is small, and a HEAD costs as much.

    Raises:
        CatalogError: There is none, or it may not be read, or it is none of ours.
        StoreError: The store can't be reached.
    """
    source, content = f"{root}/{INDEX_FILE}", bytearray()
    try:
        async with aclosing(objects.stream(source)) as pieces:
            async for piece in pieces:
                content += piece
                if len(content) > MAX_INDEX_BYTES:
                    raise CatalogError(
                        f"{source}: more than {MAX_INDEX_BYTES} bytes; that is no catalog's index"
                    )
    except InputUnavailable as error:
        remedy = "publish a catalog there: python -m shared.adapters.publish DIR " + root
        raise CatalogError(f"{error}; {remedy}") from error
    return bytes(content)


def _entries(content: bytes, root: str) -> dict[str, Digests]:
    try:
        return parse_index(content, f"{root}/{INDEX_FILE}")
    except IndexMismatchError as error:
        raise CatalogError(str(error)) from error


class Fetching:
    """Brings model folders into the cache."""

    def __init__(self, objects: Objects, root: str, cache: Cache) -> None:
        self._objects = objects
        self._root = root
        self._cache = cache
        self._sound: set[Path] = set()

    async def folder(self, name: str, digests: Digests) -> Path:
        """A model's folder with these files, whole. The first time it is asked for, it is read to be sure.

        Raises:
            CatalogError: A file is missing, is not what the index pins, or has no room on the disk.
            StoreError: The store failed, time after time.
        """
        place = self._cache.folder(name, digests)
        if place in self._sound:
            return place
        with _writing(f"{self._root}/{name}", self._cache.root):
            async with self._cache.turn(place.parent.name):
                if not await asyncio.to_thread(self._cache.has_folder, name, digests):
                    for file, digest in digests.items():
                        await self._file(f"{self._root}/{name}/{file}", digest)
                    await asyncio.to_thread(self._cache.assemble, name, digests)
        self._sound.add(place)
        return place

    async def _file(self, uri: str, digest: str) -> None:
        async with self._cache.turn(digest):
            if not await asyncio.to_thread(self._cache.has_file, digest):
                await self._patiently(uri, digest)
                log.info("catalog.fetched", file=uri)

    async def _patiently(self, uri: str, digest: str) -> None:
        for attempt in range(1, TRIES):
            try:
                return await self._fetch(uri, digest)
            except StoreError as error:
                log.warning("catalog.fetch_failed", file=uri, attempt=attempt, reason=str(error))
            await asyncio.sleep(full_jitter(attempt, base_s=AGAIN_BASE_S, cap_s=AGAIN_CAP_S))
        return await self._fetch(uri, digest)

    async def _fetch(self, uri: str, digest: str) -> None:
        draft = self._cache.draft(digest)
        try:
            found = await self._to_disk(uri, draft)
            if found != digest:
                raise CatalogError(f"{uri}: its sha256 is {found}, the index pins {digest}; publish it again")
            self._cache.keep(digest)
        finally:
            draft.unlink(missing_ok=True)

    async def _to_disk(self, uri: str, draft: Path) -> str:
        """Write an object's bytes; returns their digest."""
        digest = hashlib.sha256()

        def take(piece: bytes) -> None:
            digest.update(piece)
            target.write(piece)

        try:
            with _writing(uri, self._cache.root), draft.open("wb") as target:
                async with aclosing(self._objects.stream(uri)) as pieces:
                    async for piece in pieces:
                        await asyncio.to_thread(take, piece)
        except InputUnavailable as error:
            raise CatalogError(f"{error}, but the catalog's index lists it; publish it again") from error
        return digest.hexdigest()


@contextmanager
def _writing(what: str, root: Path) -> Iterator[None]:
    """Say what the disk did not take: it is full, not ours, or knows no locks."""
    try:
        yield
    except OSError as error:
        remedy = "make room there, or set LEVERET_CATALOG_CACHE to another disk"
        raise CatalogError(f"{what}: can't be kept in {root}: {error.strerror}; {remedy}") from error
