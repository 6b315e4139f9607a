"""The faces model in a real engine, as its folder says and without a line of code, on a known photo."""

from __future__ import annotations

import asyncio
import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image
from skimage import data

from examples.models.install import InstallError, install
from gpu_worker.engine.calls import EngineCall
from gpu_worker.engine.graphfile import with_shapes
from gpu_worker.engine.host import EngineHost
from gpu_worker.engine.launch import Device
from shared.catalog import Model, load_catalog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from numpy.typing import NDArray

    from gpu_worker.engine.calls import EngineResult

pytestmark = pytest.mark.anyio

FACE = (173, 68, 280, 190)
"""The astronaut's, as a human sees it: left, top, right, bottom."""


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Model:
    root = tmp_path_factory.mktemp("catalog")
    try:
        install(root, ("faces",))
    except InstallError as error:
        pytest.skip(f"the example models can't be fetched here: {error}")
    model = load_catalog(root).find("faces")
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


def call(model: Model, image: Image.Image, root: Path, *, number: int = 1, **params: Any) -> EngineCall:
    image.save(root / f"input-{number}.png")
    out = root / f"out-{number}"
    out.mkdir()
    return EngineCall(f"job-{number}", model, {"image": root / f"input-{number}.png"}, params, out, 60)


def found(result: EngineResult) -> list[dict[str, Any]]:
    faces: list[dict[str, Any]] = json.loads(result.outputs["faces"].read())["faces"]
    return faces


def shared(face: dict[str, Any], box: tuple[float, ...]) -> float:
    """Intersection over union."""
    left, top = max(face["x"], box[0]), max(face["y"], box[1])
    right, bottom = min(face["x"] + face["width"], box[2]), min(face["y"] + face["height"], box[3])
    common = max(right - left, 0) * max(bottom - top, 0)
    own, other = face["width"] * face["height"], (box[2] - box[0]) * (box[3] - box[1])
    return float(common / (own + other - common))


async def test_the_astronaut_s_face_is_found_and_hidden(
    host: EngineHost, faces: Model, tmp_path: Path
) -> None:
    # When the photo goes through
    report = await host.load(faces)
    result = await host.run(call(faces, astronaut(), tmp_path))
    # Then it has one face, where it is, with the eyes above the mouth
    (face,) = found(result)
    assert face["score"] > 0.8
    assert shared(face, FACE) > 0.6
    eyes, mouth = face["landmarks"][:2], face["landmarks"][3:]
    assert all(eye[1] < corner[1] for eye in eyes for corner in mouth)
    assert all(FACE[0] < x < FACE[2] and FACE[1] < y < FACE[3] for x, y in face["landmarks"])
    # And the other picture is the photo without it
    with Image.open(io.BytesIO(result.outputs["blurred"].read())) as blurred:
        before, after = np.asarray(astronaut(), np.int32), np.asarray(blurred, np.int32)
    middle = (slice(110, 150), slice(205, 245))
    assert np.abs(np.diff(after[middle], axis=0)).mean() < np.abs(np.diff(before[middle], axis=0)).mean() / 2
    assert np.array_equal(after[300:], before[300:])
    # And every node of the graph is told where it runs
    assert set(report.nodes) == {"CPUExecutionProvider"}
    assert report.nodes["CPUExecutionProvider"] > 50


async def test_a_photo_without_faces_has_none(host: EngineHost, faces: Model, tmp_path: Path) -> None:
    pixels: NDArray[np.uint8] = data.coffee()  # type: ignore[no-untyped-call]
    result = await host.run(call(faces, Image.fromarray(pixels), tmp_path))
    assert found(result) == []


async def test_the_face_is_the_same_in_every_size_and_batch(
    host: EngineHost, faces: Model, tmp_path: Path
) -> None:
    # Given the photo small, large and twice, in jobs that are there at once
    photo = astronaut()
    images = [photo.resize((300, 300)), photo.resize((1500, 1500)), photo, photo]
    calls = [call(faces, image, tmp_path, number=number) for number, image in enumerate(images)]
    # When they run
    results = await asyncio.gather(*(host.run(each) for each in calls))
    # Then each finds it where it is
    for image, result in zip(images, results, strict=True):
        (face,) = found(result)
        ratio = image.width / 512
        assert shared(face, tuple(side * ratio for side in FACE)) > 0.6
    assert found(results[2]) == found(results[3])


def test_a_batch_is_worth_as_many_runs(faces: Model) -> None:
    # Given the graph as its folder reshapes it
    assert faces.path is not None
    graph = with_shapes(faces.path, faces.options["shapes"])
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    pixels = np.random.default_rng(3).random((3, 3, 96, 64), np.float32) * 255
    # When it runs on three at once and one by one, then the maps are the same
    together = session.run(None, {"input.1": pixels})
    for row in range(3):
        alone = session.run(None, {"input.1": pixels[row : row + 1]})
        for one, all_ in zip(alone, together, strict=True):
            np.testing.assert_allclose(one[0], all_[row], rtol=1e-4, atol=1e-5)
