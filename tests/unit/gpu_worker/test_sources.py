from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gpu_worker.sources import Sources

pytestmark = pytest.mark.anyio


@dataclass
class Place:
    """Keeps what it was asked for."""

    asked: list[tuple[str, Path, int]] = field(default_factory=list)

    async def fetch(self, ref: str, path: Path, *, max_bytes: int) -> None:
        self.asked.append((ref, path, max_bytes))


@dataclass(frozen=True)
class Written:
    size: int
    sha256: str


class Store(Place):
    def uri(self, key: str) -> str:
        return f"s3://leveret/{key}"

    async def put_file(self, ref: str, path: Path, content_type: str) -> Written:
        return Written(len(ref), f"{path} {content_type}")

    async def put_bytes(self, ref: str, body: bytes, content_type: str) -> Written:
        return Written(len(body), f"{ref} {content_type}")


@pytest.mark.parametrize(
    ("ref", "from_web"),
    [
        ("https://a.example/b", True),
        ("s3://shelf/https://a.example/b", False),
        ("acme/uploads/1", False),
        ("http://a.example/b", False),
    ],
)
async def test_only_an_https_address_is_read_from_the_web(ref: str, from_web: bool) -> None:  # noqa: FBT001
    store, web = Store(), Place()
    await Sources(store, web).fetch(ref, Path("in/image"), max_bytes=5)
    asked = [(ref, Path("in/image"), 5)]
    assert (web.asked, store.asked) == ((asked, []) if from_web else ([], asked))


async def test_everything_is_written_to_the_store() -> None:
    sources = Sources(Store(), Place())
    assert sources.uri("a") == "s3://leveret/a"
    assert await sources.put_file("abc", Path("out/x"), "image/png") == Written(3, "out/x image/png")
    assert await sources.put_bytes("abc", b"body", "image/png") == Written(4, "abc image/png")
