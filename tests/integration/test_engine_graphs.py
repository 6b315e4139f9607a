"""Small ONNX graphs in a real engine: ready-made handlers by model.toml alone, and what is refused."""

from __future__ import annotations

import asyncio
import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from gpu_worker.engine.calls import EngineCall
from gpu_worker.engine.host import EngineHost
from gpu_worker.engine.launch import Device
from shared.catalog import load_model
from shared.errors import AlgorithmError, BadInput
from tests import onnx_graphs as graphs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from shared.catalog import Model

pytestmark = pytest.mark.anyio

LABELS = """
name = "labels"
backend = "onnx"
handler = "gpu_worker.handlers.labels:Labels"
file = "m.onnx"
[inputs.image]
kind = "image"
[outputs.found]
kind = "json"
[params.top]
type = "integer"
[batching]
max_batch_size = 4
[options]
mean = [0.0]
std = [1.0]
labels = "labels.txt"
"""

TENSORS = """
name = "tensors"
backend = "onnx"
handler = "gpu_worker.handlers.tensors:Tensors"
file = "m.onnx"
[inputs.given]
kind = "bytes"
[outputs.made]
kind = "bytes"
"""


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[EngineHost]:
    host = EngineHost(interpreter=None, device=Device("cpu"), scratch=tmp_path / "scratch")
    yield host
    await host.stop()


def write_model(root: Path, name: str, table: str, graph: bytes, **files: str) -> Model:
    folder = root / name
    folder.mkdir()
    (folder / "model.toml").write_text(table)
    (folder / "m.onnx").write_bytes(graph)
    for file, text in files.items():
        (folder / file.replace("_", ".")).write_text(text)
    return load_model(folder)


def call(model: Model, root: Path, data: bytes, *, number: int = 1, **params: Any) -> EngineCall:
    (name,) = model.inputs
    source = root / f"{model.name}-{number}"
    source.write_bytes(data)
    out = root / f"out-{model.name}-{number}"
    out.mkdir()
    return EngineCall(f"job-{number}", model, {name: source}, params, out, 60)


def png(color: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), color).save(stream, "PNG")
    return stream.getvalue()


def npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


async def test_labels_need_a_model_toml_and_a_graph(host: EngineHost, tmp_path: Path) -> None:
    graph = graphs.mean_of_pixels(["n", 3, 8, 8])
    model = write_model(tmp_path, "labels", LABELS, graph, labels_txt="red\ngreen\nblue")
    colors = ("red", "blue", "lime", "red")
    calls = [call(model, tmp_path, png(color), number=number, top=1) for number, color in enumerate(colors)]
    results = await asyncio.gather(*(host.run(each) for each in calls))
    found = [json.loads(result.outputs["found"].read())[0]["label"] for result in results]
    assert found == ["red", "blue", "green", "red"]


async def test_tensors_are_bit_exact(host: EngineHost, tmp_path: Path) -> None:
    model = write_model(tmp_path, "tensors", TENSORS, graphs.identity(["n", 512]))
    array = np.random.default_rng(1).random((100, 512), np.float32)
    result = await host.run(call(model, tmp_path, npy(array)))
    made = np.load(io.BytesIO(result.outputs["made"].read()), allow_pickle=False)
    assert made.tobytes() == array.tobytes()


async def test_a_tensor_that_is_none_costs_its_own_job_only(host: EngineHost, tmp_path: Path) -> None:
    model = write_model(tmp_path, "tensors", TENSORS, graphs.identity(["n", 3]))
    with pytest.raises(BadInput, match=r"inputs\.given: not an \.npy file"):
        await host.run(call(model, tmp_path, b"\x80\x04N."))
    with pytest.raises(
        BadInput, match=r"inputs\.given: is \[1, 4\], the graph's input is x float32\[\?, 3\]"
    ):
        await host.run(call(model, tmp_path, npy(np.zeros((1, 4), np.float32)), number=2))
    assert (await host.run(call(model, tmp_path, npy(np.zeros((1, 3), np.float32)), number=3))).outputs
    assert host.starts == 1


async def test_a_graph_with_weights_outside_its_folder_costs_its_own_jobs_only(
    host: EngineHost, tmp_path: Path
) -> None:
    # Given a graph that names a file it has no business with, and a good one
    (tmp_path / "secret").write_bytes(np.ones(3, np.float32).tobytes())
    graph = graphs.plus(graphs.outside("w", np.ones(3, np.float32), "../secret"), ["n", 3])
    bad = write_model(tmp_path, "bad", TENSORS.replace('"tensors"', '"bad"'), graph)
    good = write_model(tmp_path, "tensors", TENSORS, graphs.identity(["n", 3]))
    data = npy(np.zeros((1, 3), np.float32))
    # When both are asked for, then one says why it is refused and the other runs, in the same process
    with pytest.raises(AlgorithmError, match=r"keeps weights in '\.\./secret', outside the model's folder"):
        await host.run(call(bad, tmp_path, data))
    assert (await host.run(call(good, tmp_path, data))).outputs
    assert host.starts == 1


async def test_an_unknown_option_is_named_with_a_suggestion(host: EngineHost, tmp_path: Path) -> None:
    table = TENSORS + "[options]\nmax_byte = 1\n"
    model = write_model(tmp_path, "tensors", table, graphs.identity(["n", 3]))
    with pytest.raises(
        AlgorithmError, match=r"options\.max_byte: no such option; did you mean 'max_bytes'\?"
    ):
        await host.load(model)


PICTURES = """
name = "pictures"
backend = "python"
handler = "code:work"
[inputs.image]
kind = "image"
[outputs.made]
kind = "json"
[options]
"""


async def test_limits_of_pictures_are_checked_when_a_model_loads(host: EngineHost, tmp_path: Path) -> None:
    # Given two models that differ in their options
    for name, option in (("bad", 'formats = ["EPS"]'), ("good", 'formats = ["PNG"]\nmax_pixels = 64')):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "model.toml").write_text(PICTURES.replace('"pictures"', f'"{name}"') + option)
        (folder / "code.py").write_text("def work(image):\n    return image.size\n")
    # When they load, then one is refused by its option
    with pytest.raises(AlgorithmError, match=r"options\.formats: EPS is never read"):
        await host.load(load_model(tmp_path / "bad"))
    # And the other holds its jobs to them
    model = load_model(tmp_path / "good")
    assert json.loads((await host.run(call(model, tmp_path, png("red")))).outputs["made"].read()) == [8, 8]
    large = io.BytesIO()
    Image.new("RGB", (9, 8)).save(large, "PNG")
    with pytest.raises(BadInput, match="9x8 pixels; at most 64 are accepted"):
        await host.run(call(model, tmp_path, large.getvalue(), number=2))
    with pytest.raises(BadInput, match="not an image; accepted are PNG"):
        await host.run(call(model, tmp_path, b"GIF89a", number=3))
