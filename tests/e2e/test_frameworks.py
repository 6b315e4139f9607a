"""The TensorFlow and PyTorch examples, installed with environments of their own, and a job through each.

Slow, and up to 3 GB on the disk while it runs: `make test ARGS="-m slow tests/e2e/test_frameworks.py"`.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from examples.frameworks.install import InstallError, install
from gateway.client import AsyncClient
from tests.e2e.processes import House
from tests.gateway_process import gateway_process
from tests.integration.test_engine_cutout import astronaut

pytestmark = [pytest.mark.anyio, pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(2400)]

NEEDED_BYTES = 4 * 1024**3


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder with room for the packages; emptied whatever happens."""
    if (free := shutil.disk_usage(tmp_path).free) < NEEDED_BYTES:
        pytest.skip(
            f"NOT RUN: {free / 1e9:.1f} GB are free at {tmp_path}, {NEEDED_BYTES / 1e9:.1f} are needed"
        )
    yield tmp_path
    shutil.rmtree(tmp_path / "environments", ignore_errors=True)


def installed(name: str, place: Path) -> Path:
    """A catalog with this example; skips where its packages are not to be had."""
    catalog = place / "catalog"
    catalog.mkdir()
    try:
        install(catalog, place / "environments", (name,))
    except InstallError as error:
        lines = str(error).splitlines()
        pytest.skip(f"NOT RUN: {lines[0]} {lines[-1] if lines[1:] else ''}")
    return catalog


@asynccontextmanager
async def served(house: House, catalog: Path, place: Path, key: str) -> AsyncIterator[AsyncClient]:
    """A client of a gateway and a worker of this catalog."""
    own = House(house.env, catalog, place, house.logs)
    with (
        gateway_process(house.env, place, LEVERET_CATALOG_PATH=str(catalog)) as gateway,
        own.worker("frameworks") as worker,
    ):
        assert worker.logged("model.loaded"), worker.log.read_text()
        async with AsyncClient(gateway.url, key) as client:
            yield client


def shape(sides: int) -> bytes:
    canvas = Image.new("RGB", (200, 200), "white")
    pen = ImageDraw.Draw(canvas)
    if sides:
        pen.regular_polygon((100, 100, 60), sides, fill="navy")
    else:
        pen.ellipse((40, 40, 160, 160), fill="navy")
    return png(canvas)


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


async def test_keras_tells_shapes_apart(house: House, key: str, place: Path) -> None:
    catalog = installed("keras_shapes", place)
    async with served(house, catalog, place, key) as client:
        for label, sides in {"circle": 0, "square": 4, "triangle": 3}.items():
            # Progress is told to those who listen, and all of it is over in a tenth of a second.
            job = await client.submit("keras_shapes", image=shape(sides), views=8, delay_s=1)
            seen = [event.progress async for event in job.events(after=0) if event.progress is not None]
            found = json.loads(await job.outputs["shape"].bytes())
            assert found["label"] == label, found
            assert sum(found["likelihoods"].values()) == pytest.approx(1, abs=1e-3)
            assert seen


async def test_torch_takes_noise_out(house: House, key: str, place: Path) -> None:
    catalog = installed("torch_denoise", place)
    true = np.asarray(astronaut(), np.float64)
    noise = np.random.default_rng(1).normal(0, 25, true.shape)
    noisy = Image.fromarray((true + noise).clip(0, 255).astype(np.uint8))
    async with served(house, catalog, place, key) as client:
        job = await (await client.submit("torch_denoise", image=png(noisy))).wait(timeout_s=120)
        clean = Image.open(io.BytesIO(await job.outputs["image_clean"].bytes()))
        assert clean.size == noisy.size
        assert error(clean, true) < 0.6 * error(noisy, true)
        same = await (await client.submit("torch_denoise", image=png(noisy), strength=0)).wait(timeout_s=120)
        untouched = Image.open(io.BytesIO(await same.outputs["image_clean"].bytes()))
        assert np.array_equal(np.asarray(untouched), np.asarray(noisy))


def error(image: Image.Image, true: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    return float(((np.asarray(image, np.float64) - true) ** 2).mean())
