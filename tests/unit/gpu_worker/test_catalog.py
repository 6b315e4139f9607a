from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest

from gpu_worker.catalog import Repertoire
from shared.catalog import Catalog, Model, load_model
from shared.errors import Misconfigured

pytestmark = pytest.mark.anyio


def model(root: Path, name: str, version: str = "1", queue: str = "quick") -> Model:
    folder = root / f"{name}@{version}"
    folder.mkdir()
    (folder / "model.toml").write_text(
        f'name = "{name}"\nversion = "{version}"\nqueue = "{queue}"\nbackend = "python"\nhandler = "x:y"\n'
        '[inputs.a]\nkind = "json"\n[outputs.a]\nkind = "json"\n'
    )
    return load_model(folder)


async def test_only_the_models_of_its_queue_are_offered(tmp_path: Path) -> None:
    models = Repertoire("quick")
    await models.adopt(Catalog((model(tmp_path, "fit"), model(tmp_path, "slow", queue="other"))))

    assert list(models) == ["fit@1"]
    assert "slow@1" not in models
    assert len(models) == 1


async def test_a_version_that_left_is_found_and_not_offered(tmp_path: Path) -> None:
    one, two = model(tmp_path, "fit"), model(tmp_path, "fit", "2")
    models = Repertoire("quick")
    await models.adopt(Catalog((one,)))
    await models.adopt(Catalog((two,)))

    assert list(models) == ["fit@2"]
    assert "fit@1" not in models
    assert models["fit@1"] == one


async def test_a_queue_without_models_is_an_error_at_the_start_only(tmp_path: Path) -> None:
    models = Repertoire("quick")
    with pytest.raises(Misconfigured, match="known: other"):
        await models.adopt(Catalog((model(tmp_path, "slow", queue="other"),)))
    await models.adopt(Catalog((model(tmp_path, "fit"),)))
    await models.adopt(Catalog())
    assert list(models) == []


async def test_what_comes_later_is_loaded(tmp_path: Path) -> None:
    loaded: asyncio.Queue[list[str]] = asyncio.Queue()

    async def preload(fresh: Iterable[Model]) -> None:
        loaded.put_nowait([each.ref for each in fresh])

    one, two = model(tmp_path, "fit"), model(tmp_path, "fit", "2")
    models = Repertoire("quick")
    await models.adopt(Catalog((one,)))
    warming = asyncio.create_task(models.warm(preload))
    await models.adopt(Catalog((one, two)))

    assert await loaded.get() == ["fit@2"]
    warming.cancel()
