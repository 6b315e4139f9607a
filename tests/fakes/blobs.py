"""S3 in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from shared.errors import LeveretError


@dataclass(frozen=True)
class FakeHead:
    size: int
    content_type: str


@dataclass
class FakeBlobs:
    """Objects of one bucket; `failure` is raised by every call that would reach the store."""

    objects: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    failure: LeveretError | None = None

    def uri(self, key: str) -> str:
        return f"s3://leveret/{key}"

    async def head(self, ref: str) -> FakeHead | None:
        self._check()
        found = self.objects.get(self._key(ref))
        return FakeHead(len(found[0]), found[1]) if found else None

    async def put_bytes(self, ref: str, body: bytes, content_type: str) -> None:
        self._check()
        self.objects[self._key(ref)] = (body, content_type)

    async def put_file(self, ref: str, path: Path, content_type: str) -> None:
        await self.put_bytes(ref, path.read_bytes(), content_type)

    async def presigned_get(
        self, ref: str, *, filename: str | None = None, content_type: str | None = None
    ) -> str:
        return f"https://store.example/{self._key(ref)}?{filename}&{content_type}"

    async def presigned_put(self, ref: str, content_type: str) -> str:
        return f"https://store.example/{ref}?{content_type}"

    async def stream(self, ref: str) -> AsyncIterator[bytes]:
        self._check()
        yield self.objects[self._key(ref)][0]

    def _key(self, ref: str) -> str:
        return ref.removeprefix("s3://leveret/")

    def _check(self) -> None:
        if self.failure is not None:
            raise self.failure
