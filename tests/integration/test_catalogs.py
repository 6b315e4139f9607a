"""Catalogs in a bucket, on a real S3: published, read through the cache, cut off, damaged, and shared."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

import pytest

from deploy.local.ports import free_ports
from shared.adapters import catalogs
from shared.adapters.blobs import Blobs, open_blobs
from shared.adapters.catalogs import BucketSource, source_of
from shared.adapters.publish import main, publish, withdraw
from shared.catalog import CatalogError, Model, write_index
from shared.catalog.cache import Cache
from shared.catalog.reading import Reading
from shared.errors import StoreError
from shared.settings import S3, CatalogSection
from tests.chaos.proxy import FaultProxy, Weather
from tests.stack import ROOT, process_environment

pytestmark = [pytest.mark.anyio, pytest.mark.stack]

WEIGHTS = 3_000_000
TOML = """
name = "{name}"
version = "{version}"
queue = "{queue}"
backend = "onnx"
file = "net.onnx"
handler = "code:Net"
[inputs.image]
kind = "image"
[outputs.image]
kind = "image"
"""


def make(root: Path, name: str, version: str = "1", *, queue: str = "images", weights: int = 1000) -> Path:
    folder = root / f"{name}@{version}"
    folder.mkdir(parents=True)
    (folder / "model.toml").write_text(TOML.format(name=name, version=version, queue=queue))
    (folder / "code.py").write_text("class Net:\n    def infer(self, items): return items\n")
    (folder / "net.onnx").write_bytes(Random(f"{name}{weights}").randbytes(weights))  # noqa: S311
    return folder


def settings_of(s3: dict[str, str], **changed: Any) -> S3:
    fields = {name.removeprefix("LEVERET_S3_").lower(): value for name, value in s3.items()}
    return S3(**(fields | changed))


def visible(cache: Path) -> list[str]:
    """Every file that a reader of the cache could meet, or that was left lying about."""
    rooms = (cache / room for room in ("files", "folders", "drafts"))
    return sorted(path.name for room in rooms for path in room.rglob("*") if path.is_file())


@dataclass
class Place:
    """A prefix of the bucket, a folder to publish from, and a cache."""

    blobs: Blobs
    root: str
    local: Path
    cache: Path
    fetched: list[str] = field(default_factory=list)

    def source(
        self, wanted: Callable[[Model], bool] = lambda _: True, blobs: Blobs | None = None
    ) -> BucketSource:
        return BucketSource(blobs or self.blobs, self.root, Cache(self.cache), wanted=wanted)

    async def publish(self) -> str:
        return await publish(self.blobs, self.root, self.local)

    async def read(self, wanted: Callable[[Model], bool] = lambda _: True) -> Reading:
        reading = await self.source(wanted).read()
        assert reading is not None
        return reading


@pytest.fixture
async def place(s3: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    async with open_blobs(settings_of(s3)) as blobs:
        root = f"s3://{s3['LEVERET_S3_BUCKET']}/{request.node.name[:60]}/models"
        yield Place(blobs, root, tmp_path / "local", tmp_path / "cache")


@pytest.fixture
async def flaky(s3: dict[str, str]) -> AsyncIterator[tuple[FaultProxy, Blobs]]:
    """The same store behind a network that misbehaves."""
    target = urlsplit(s3["LEVERET_S3_ENDPOINT"]).port
    assert target is not None
    (port,) = free_ports(1)
    proxy = FaultProxy("s3", target, Random(4))  # noqa: S311  chaos, not secrets
    await proxy.start(port)
    changed = settings_of(s3, endpoint=f"http://127.0.0.1:{port}", timeout_s=6)
    async with open_blobs(changed) as blobs:
        yield proxy, blobs
    await proxy.stop()


async def test_what_is_published_is_read_whole(place: Place) -> None:
    make(place.local, "net", weights=WEIGHTS)

    assert await place.publish() == f"{place.root}: published net@1"
    reading = await place.read()

    (model,) = reading.catalog.models
    assert (model.ref, reading.faults) == ("net@1", {})
    assert model.path is not None
    assert model.path.read_bytes() == (place.local / "net@1" / "net.onnx").read_bytes()
    model.verify()


async def test_who_runs_nothing_reads_no_weights(place: Place) -> None:
    make(place.local, "net")
    make(place.local, "other", queue="quick")
    await place.publish()

    reading = await place.read(lambda _: False)

    assert {model.ref for model in reading.catalog.models} == {"net@1", "other@1"}
    assert {path.name for path in (place.cache / "folders").rglob("*") if path.is_file()} == {"model.toml"}
    assert len(list((place.cache / "files").iterdir())) == 2


async def test_a_worker_brings_the_models_of_its_queue_only(place: Place) -> None:
    make(place.local, "net")
    make(place.local, "other", queue="quick")
    await place.publish()

    reading = await place.read(lambda model: model.queue == "quick")

    net, other = sorted(reading.catalog.models, key=lambda model: model.name)
    assert not (net.folder / "net.onnx").exists()
    assert (other.folder / "net.onnx").exists()


async def test_a_catalog_that_stays_is_not_read_again_and_a_new_version_shares_files(place: Place) -> None:
    make(place.local, "net", weights=WEIGHTS)
    await place.publish()
    source = place.source()
    assert await source.read() is not None
    assert await source.read() is None

    make(place.local, "net", "2", weights=WEIGHTS)
    assert await place.publish() == f"{place.root}: published net@2"

    reading = await source.read()
    assert reading is not None
    one, two = reading.catalog.models
    assert (one.version, two.version) == ("1", "2")
    assert one.path is not None
    assert two.path is not None
    assert one.path.stat().st_ino == two.path.stat().st_ino  # the same weights, kept once


async def test_a_published_version_never_changes(place: Place) -> None:
    folder = make(place.local, "net")
    await place.publish()
    (folder / "code.py").write_text("class Net:\n    def infer(self, items): return items[::-1]\n")

    with pytest.raises(CatalogError, match="raise `version`"):
        await place.publish()

    (await place.read()).catalog.models[0].verify()


async def test_publishing_twice_is_publishing_once(place: Place) -> None:
    make(place.local, "net")
    await place.publish()
    assert await place.publish() == f"{place.root}: published nothing new"


async def test_a_wrong_model_is_not_published(place: Place) -> None:
    folder = make(place.local, "net")
    (folder / "code.py").write_text("class Not: ...")

    with pytest.raises(CatalogError, match="has no 'Net'"):
        await place.publish()

    with pytest.raises(CatalogError, match=r"does not exist; publish a catalog there"):
        await place.source().read()


async def test_a_withdrawn_version_is_gone_for_readers_and_its_files_stay(place: Place) -> None:
    make(place.local, "net")
    make(place.local, "net", "2")
    await place.publish()

    assert "withdrew net@1" in await withdraw(place.blobs, place.root, "net@1")

    assert [model.ref for model in (await place.read()).catalog.models] == ["net@2"]
    assert await place.blobs.head(f"{place.root}/net@1/net.onnx") is not None
    with pytest.raises(CatalogError, match=r"there is no net@1; there are net@2"):
        await withdraw(place.blobs, place.root, "net@1")


async def test_a_copied_catalog_is_read_and_published_to(place: Place) -> None:
    """By `aws s3 sync`, say: folders as they were, the index last."""
    folder = make(place.local, "net").rename(place.local / "net")
    write_index(place.local)
    for file in [*folder.iterdir(), place.local / "index.json"]:
        key = file.relative_to(place.local).as_posix()
        await place.blobs.put_bytes(f"{place.root}/{key}", file.read_bytes(), "text/plain")

    assert [model.ref for model in (await place.read()).catalog.models] == ["net@1"]
    assert await place.publish() == f"{place.root}: published nothing new"
    make(place.local, "net", "2")
    write_index(place.local)
    assert await place.publish() == f"{place.root}: published net@2"


async def test_a_file_that_is_not_what_the_index_pins_is_refused_by_name(place: Place) -> None:
    make(place.local, "net")
    make(place.local, "well")
    await place.publish()
    good = (place.local / "net@1" / "net.onnx").read_bytes()
    await place.blobs.put_bytes(f"{place.root}/net@1/net.onnx", b"evil", "text/plain")
    source = place.source()

    # When it is read, then the other model is there, and nothing of this one
    reading = await source.read()
    assert reading is not None
    assert [model.ref for model in reading.catalog.models] == ["well@1"]
    assert reading.faults.keys() == {"net@1"}
    assert f"{place.root}/net@1/net.onnx: its sha256 is" in reading.faults["net@1"]
    assert not list((place.cache / "drafts").iterdir())
    assert not [path for path in (place.cache / "folders").rglob("net.onnx") if path.read_bytes() == b"evil"]

    # When it is repaired, then the next look finds it, though the index is the same
    await place.blobs.put_bytes(f"{place.root}/net@1/net.onnx", good, "text/plain")
    reading = await source.read()
    assert reading is not None
    assert len(reading.catalog.models) == 2
    assert await source.read() is None


async def test_a_model_toml_that_is_not_what_the_index_pins_is_refused(place: Place) -> None:
    make(place.local, "net")
    await place.publish()
    await place.blobs.put_bytes(f"{place.root}/net@1/model.toml", b'name = "evil"', "text/plain")

    with pytest.raises(CatalogError, match=r"net@1/model\.toml: its sha256 is"):
        await place.source().read()

    assert visible(place.cache) == []


async def test_a_file_that_is_missing_is_named(place: Place, s3: dict[str, str]) -> None:
    make(place.local, "net")
    await place.publish()
    bucket, _, key = place.root.removeprefix("s3://").partition("/")
    await place.blobs._client.delete_object(Bucket=bucket, Key=f"{key}/net@1/net.onnx")

    reading = await place.read()

    assert "net@1/net.onnx does not exist, but the catalog's index lists it" in reading.faults["net@1"]


@pytest.mark.parametrize(
    "content", [b"{", b'{"format": 1, "models": {"net@1": {"../x": "%s"}}}' % (b"0" * 64)]
)
async def test_an_index_that_is_none_is_refused(place: Place, content: bytes) -> None:
    await place.blobs.put_bytes(f"{place.root}/index.json", content, "application/json")
    with pytest.raises(CatalogError, match=r"index\.json: not a catalog index"):
        await place.source().read()


async def test_a_mistake_is_told_where_it_can_be_mended(place: Place) -> None:
    folder = make(place.local, "net")
    (folder / "model.toml").write_text('name = "net"')
    write_index(place.local)
    for file in [*folder.iterdir(), place.local / "index.json"]:
        key = file.relative_to(place.local).as_posix()
        await place.blobs.put_bytes(f"{place.root}/{key}", file.read_bytes(), "text/plain")

    with pytest.raises(CatalogError) as caught:
        await place.source().read()

    assert f"{place.root}/net@1/model.toml: handler: Field required" in str(caught.value)


async def test_a_download_that_is_cut_leaves_nothing_and_is_tried_again(
    place: Place, flaky: tuple[FaultProxy, Blobs], monkeypatch: pytest.MonkeyPatch
) -> None:
    make(place.local, "net", weights=WEIGHTS)
    await place.publish()
    proxy, blobs = flaky
    between: list[list[str]] = []

    def wait(attempt: int, **_: float) -> float:
        between.append(visible(place.cache))
        if attempt == 2:
            proxy.calm()
        return 0

    monkeypatch.setattr(catalogs, "full_jitter", wait)
    proxy.change(Weather(cut_after=(200_000, 600_000)))
    reading = await place.source(blobs=blobs).read()

    assert reading is not None
    assert reading.faults == {}
    reading.catalog.models[0].verify()
    assert len(between) == 2
    assert all("net.onnx" not in names for names in between)
    assert not list((place.cache / "drafts").iterdir())


async def test_a_network_that_stays_bad_costs_one_model_until_it_is_well(
    place: Place, flaky: tuple[FaultProxy, Blobs], monkeypatch: pytest.MonkeyPatch
) -> None:
    make(place.local, "net", weights=WEIGHTS)
    await place.publish()
    proxy, blobs = flaky
    monkeypatch.setattr(catalogs, "AGAIN_BASE_S", 0.01)
    source = place.source(blobs=blobs)
    proxy.change(Weather(cut_after=(100_000, 200_000)))

    reading = await source.read()
    assert reading is not None
    assert reading.catalog.models == ()
    assert "net@1/net.onnx" in reading.faults["net@1"]
    assert "net.onnx" not in visible(place.cache)
    assert not list((place.cache / "drafts").iterdir())

    proxy.calm()
    reading = await source.read()
    assert reading is not None
    assert reading.faults == {}


async def test_a_store_that_is_away_is_an_error_of_the_store(
    place: Place, flaky: tuple[FaultProxy, Blobs]
) -> None:
    proxy, blobs = flaky
    proxy.change(Weather(refuse=True))
    with pytest.raises(StoreError):
        await place.source(blobs=blobs).read()


async def test_a_damaged_cache_mends_itself(place: Place) -> None:
    make(place.local, "net")
    await place.publish()
    (model,) = (await place.read()).catalog.models
    assert model.path is not None
    model.path.chmod(0o644)
    model.path.write_bytes(b"evil")  # of which the file it is linked to is another name

    (again,) = (await place.read()).catalog.models

    assert again.folder == model.folder
    again.verify()


READER = """
import asyncio, json, sys
from pathlib import Path
from shared.adapters.blobs import open_blobs
from shared.adapters.catalogs import source_of
from shared.settings import ProcessSettings, read_settings
from shared.telemetry.logging import configure_logging

async def read():
    settings = read_settings(ProcessSettings)
    configure_logging(settings.log, service="reader")
    async with open_blobs(settings.s3) as blobs:
        reading = await source_of(settings.catalog, blobs, wanted=lambda _: True).read()
    for model in reading.catalog.models:
        model.verify()
    print(json.dumps({"models": [m.ref for m in reading.catalog.models], "faults": reading.faults}))

sys.stdin.readline()
asyncio.run(read())
"""


def reader(place: Place, s3: dict[str, str], **options: Any) -> subprocess.Popen[str]:
    variables = {**s3, "LEVERET_CATALOG_PATH": place.root, "LEVERET_CATALOG_CACHE": str(place.cache)}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", READER],
        cwd=ROOT,
        env=process_environment(variables),
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        text=True,
        **options,
    )


async def test_processes_share_a_cache_and_fetch_each_file_once(place: Place, s3: dict[str, str]) -> None:
    for name in ("one", "two"):
        make(place.local, name, weights=WEIGHTS)
    await place.publish()

    readers = [reader(place, s3) for _ in range(4)]
    ends = await asyncio.gather(*(asyncio.to_thread(each.communicate, "go\n") for each in readers))

    assert [each.returncode for each in readers] == [0] * 4, ends
    assert {out for out, _ in ends} == {'{"models": ["one@1", "two@1"], "faults": {}}\n'}
    fetched = [json.loads(line)["file"] for _, log in ends for line in log.splitlines() if "fetched" in line]
    assert sorted(fetched) == sorted(set(fetched))
    assert len(fetched) == 5  # two model.toml, two graphs, and one code.py that both have


async def test_a_process_that_is_killed_over_a_download_hinders_nobody(
    place: Place, s3: dict[str, str], flaky: tuple[FaultProxy, Blobs]
) -> None:
    make(place.local, "net", weights=WEIGHTS)
    await place.publish()
    proxy, _ = flaky
    proxy.change(Weather(latency_s=(0.2, 0.3)))
    victim = reader(place, {**s3, "LEVERET_S3_ENDPOINT": f"http://127.0.0.1:{proxy.port}"})
    assert victim.stdin is not None
    victim.stdin.write("go\n")
    victim.stdin.flush()
    drafts = place.cache / "drafts"
    while not (drafts.is_dir() and any(path.stat().st_size > 100_000 for path in drafts.iterdir())):
        assert victim.poll() is None
        await asyncio.sleep(0.02)
    victim.kill()
    await asyncio.to_thread(victim.communicate)

    reading = await place.read()

    reading.catalog.models[0].verify()
    assert not list(drafts.iterdir())


async def test_a_disk_that_takes_no_more_is_told_with_the_file(place: Place, s3: dict[str, str]) -> None:
    make(place.local, "net", weights=WEIGHTS)
    await place.publish()

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    out, log = await asyncio.to_thread(reader(place, s3, preexec_fn=small).communicate, "go\n")

    fault = json.loads(out)["faults"]["net@1"]
    assert f"{place.root}/net@1/net.onnx: can't be kept in {place.cache}" in fault, log
    assert "set LEVERET_CATALOG_CACHE to another disk" in fault
    assert not list((place.cache / "drafts").iterdir())


async def test_the_command_publishes_and_withdraws(
    place: Place, s3: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in os.environ if name.startswith("LEVERET_")]:
        monkeypatch.delenv(name)
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    folder = make(place.local, "net")

    assert await asyncio.to_thread(main, [str(folder), place.root]) == 0
    assert "published net@1" in capsys.readouterr().out
    assert await asyncio.to_thread(main, [place.root, "--withdraw", "net@7"]) == 1
    assert "there is no net@7" in capsys.readouterr().err
    assert main([str(folder), "not-s3"]) == main([place.root]) == 2


async def test_a_cache_that_cannot_be_made_names_its_setting(place: Place, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    section = CatalogSection(path=place.root, cache=tmp_path / "file" / "cache")
    with pytest.raises(Exception, match="LEVERET_CATALOG_CACHE"):
        source_of(section, place.blobs, wanted=lambda _: True)
