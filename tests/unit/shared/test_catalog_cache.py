from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest

from shared.catalog.cache import Cache, default_root

pytestmark = pytest.mark.anyio


def put(cache: Cache, content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    cache.draft(digest).write_bytes(content)
    cache.keep(digest)
    return digest


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def test_a_folder_is_made_of_files_and_is_whole(cache: Cache) -> None:
    files = {"model.toml": put(cache, b"a"), "code/run.py": put(cache, b"b"), "same": put(cache, b"a")}

    folder = cache.assemble("fit@1", files)

    assert folder.name == "fit@1"
    assert (folder / "code" / "run.py").read_bytes() == b"b"
    assert (folder / "same").stat().st_ino == (folder / "model.toml").stat().st_ino  # kept once
    assert cache.has_folder("fit@1", files)
    assert list((cache.root / "drafts").iterdir()) == []


def test_other_content_is_another_folder(cache: Cache) -> None:
    one, two = put(cache, b"1"), put(cache, b"2")
    places = {cache.folder(*entry) for entry in (("a", {"x": one}), ("a", {"x": two}), ("b", {"x": one}))}
    assert len(places) == 3


def test_what_was_damaged_is_removed_and_made_anew(cache: Cache) -> None:
    digest = put(cache, b"good")
    folder = cache.assemble("fit", {"x": digest})
    for path in (folder / "x", cache.file(digest)):
        path.chmod(0o644)
        path.write_bytes(b"evil")

    assert not cache.has_folder("fit", {"x": digest})
    assert not cache.has_file(digest)
    assert not folder.exists()

    put(cache, b"good")
    assert cache.assemble("fit", {"x": digest}) == folder
    assert cache.has_folder("fit", {"x": digest})


def test_what_a_killed_process_left_is_no_hindrance(cache: Cache) -> None:
    digest = put(cache, b"good")
    leftover = cache.draft(cache.folder("fit", {"x": digest}).parent.name) / "fit" / "half"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"ha")

    folder = cache.assemble("fit", {"x": digest})

    assert [path.name for path in folder.iterdir()] == ["x"]


async def test_one_at_a_time(cache: Cache) -> None:
    order = []

    async def work(name: str) -> None:
        async with cache.turn("x"):
            order.append(name)
            await asyncio.sleep(0)
            order.append(name)

    await asyncio.gather(work("a"), work("b"))

    assert order in (["a", "a", "b", "b"], ["b", "b", "a", "a"])


def test_the_users_own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_root() == tmp_path / "leveret" / "catalog"
