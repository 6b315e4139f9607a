"""One object store to the rest of the worker, whichever way the bytes of an input come."""

from __future__ import annotations

from pathlib import Path

from gpu_worker.ports import Objects, Source, Stored
from shared.webaddress import SCHEME


class Sources:
    """The object store, and the web for what is named by an https address.

    Args:
        store: Reads and writes what lies in S3.
        web: Reads the rest.
    """

    def __init__(self, store: Objects, web: Source) -> None:
        self._store = store
        self._web = web

    def uri(self, key: str) -> str:
        """The address of a key of Leveret's own bucket."""
        return self._store.uri(key)

    async def fetch(self, ref: str, path: Path, *, max_bytes: int) -> None:
        """Read into a file; raises InputUnavailable, InputDelayed, BadInput, StoreError."""
        source = self._web if ref.startswith(SCHEME) else self._store
        await source.fetch(ref, path, max_bytes=max_bytes)

    async def put_file(self, ref: str, path: Path, content_type: str) -> Stored:
        """Write a file; raises StoreError."""
        return await self._store.put_file(ref, path, content_type)

    async def put_bytes(self, ref: str, body: bytes, content_type: str) -> Stored:
        """Write a few bytes; raises StoreError."""
        return await self._store.put_bytes(ref, body, content_type)
