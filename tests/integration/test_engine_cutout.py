"""The cut-out model in a real engine, against ONNX Runtime called directly on the same image."""

from __future__ import annotations

import asyncio
import json
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import pytest
from PIL import Image
from skimage import data

from examples.models.install import InstallError, install
from gpu_worker.engine.calls import EngineCall
from gpu_worker.engine.host import EngineHost
from gpu_worker.engine.launch import Device
from shared.catalog import Catalog, Model, load_catalog
from shared.errors import AlgorithmError, JobCanceled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from numpy.typing import NDArray

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    root = tmp_path_factory.mktemp("catalog")
    try:
        install(root)
    except InstallError as error:
        pytest.skip(f"the example models can't be fetched here: {error}")
    return load_catalog(root)


@pytest.fixture
def cutout(catalog: Catalog) -> Model:
    model = catalog.find("cutout")
    assert model is not None
    return model


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[EngineHost]:
    host = EngineHost(interpreter=None, device=Device("cpu"), scratch=tmp_path / "scratch")
    yield host
    await host.stop()


def astronaut() -> Image.Image:
    pixels: NDArray[np.uint8] = data.astronaut()  # type: ignore[no-untyped-call]
    return Image.fromarray(pixels)


def call(model: Model, image: Image.Image, root: Path) -> EngineCall:
    image.save(root / "input.png")
    out = root / "out"
    out.mkdir(exist_ok=True)
    return EngineCall("job-1", model, {"image": root / "input.png"}, {}, out, 60)


def reference_mask(model: Model, image: Image.Image) -> NDArray[np.float64]:
    """The mask by the model's published recipe, without any code of ours."""
    pixels = np.asarray(image.convert("RGB").resize((320, 320), Image.Resampling.LANCZOS), np.float64)
    pixels = (pixels / pixels.max() - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    session = onnxruntime.InferenceSession(str(model.path), providers=["CPUExecutionProvider"])
    (raw,) = session.run(["1959"], {"input.1": pixels.transpose(2, 0, 1)[None].astype(np.float32)})
    grey = (raw[0, 0] - raw.min()) / (raw.max() - raw.min()) * 255
    small = Image.fromarray(grey.astype(np.uint8))
    return np.asarray(small.resize(image.size, Image.Resampling.LANCZOS), np.float64)


async def test_the_mask_is_that_of_onnx_runtime_itself(
    host: EngineHost, cutout: Model, tmp_path: Path
) -> None:
    image = astronaut()
    # When the model's digests are verified and the image goes through the engine
    report = await host.load(cutout)
    result = await host.run(call(cutout, image, tmp_path))
    # Then mask and cut-out are those of the graph
    assert report.providers == ("CPUExecutionProvider",)
    assert result.outputs["mask"].metadata == {"width": 512, "height": 512}
    mask = np.asarray(Image.open(BytesIO(result.outputs["mask"].read()))) > 127
    expected = reference_mask(cutout, image) > 127
    assert (mask & expected).sum() / (mask | expected).sum() >= 0.98
    with Image.open(BytesIO(result.outputs["cutout"].read())) as cut:
        assert cut.mode == "RGBA"
        assert np.array_equal(np.asarray(cut.getchannel("A")) > 127, mask)
        assert np.array_equal(np.asarray(cut.convert("RGB")), np.asarray(image))


async def test_transparent_stays_transparent(host: EngineHost, cutout: Model, tmp_path: Path) -> None:
    image = astronaut().convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 512, 256))
    result = await host.run(call(cutout, image, tmp_path))
    with Image.open(BytesIO(result.outputs["cutout"].read())) as cut:
        assert not np.asarray(cut.getchannel("A"))[:256].any()


ENDLESS = """
from gpu_worker.handlers.images import Cutout
class Endless(Cutout):
    def warm_up(self): ...
    def prepare(self, image, job):
        self.job = job
        return super().prepare(image)
    def infer(self, items):
        self.job.progress(0.1)
        while True:
            super().infer(items)
"""


async def test_cancel_ends_a_running_graph_and_keeps_the_engine(
    host: EngineHost, cutout: Model, tmp_path: Path
) -> None:
    # Given a graph that runs over and over
    (tmp_path / "endless.py").write_text(ENDLESS)
    (tmp_path / "u2netp.onnx").symlink_to(cutout.folder / "u2netp.onnx")
    endless = cutout.model_copy(
        update={"folder": tmp_path, "name": "endless", "handler": "endless:Endless", "digests": None}
    )
    await host.load(endless)
    inside = asyncio.Event()
    attempt = call(endless, Image.new("RGB", (64, 64)), tmp_path)
    task = asyncio.create_task(host.run(attempt, on_progress=lambda _: inside.set()))
    await inside.wait()
    pid = host.pid
    # When its job is canceled, then the run ends by itself
    assert await host.cancel("job-1")
    with pytest.raises(JobCanceled):
        await task
    # And the same process takes the next job
    result = await host.run(call(cutout, Image.new("RGB", (64, 64), "red"), tmp_path))
    assert result.outputs.keys() == {"mask", "cutout"}
    assert host.pid == pid


async def test_a_broken_graph_fails_to_load(host: EngineHost, cutout: Model, tmp_path: Path) -> None:
    (tmp_path / "u2netp.onnx").write_bytes(b"no graph")
    broken = cutout.model_copy(update={"folder": tmp_path, "digests": None})
    with pytest.raises(AlgorithmError, match=r"u2netp\.onnx"):
        await host.load(broken)


async def test_a_second_install_changes_nothing(catalog: Catalog) -> None:
    root = catalog.models[0].folder.parent
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*.*") if path.name != "index.json"}
    install(root)
    assert {
        path: path.stat().st_mtime_ns for path in root.rglob("*.*") if path.name != "index.json"
    } == before
    assert json.loads((root / "index.json").read_text())["models"].keys() == {"cutout", "faces", "thumbnail"}
