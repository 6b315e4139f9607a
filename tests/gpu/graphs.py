"""The graphs under test, written when they are first asked for, and the specs and models that name them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from gpu_worker.engine.spec import ModelSpec, spec_of
from shared.catalog import Model, load_model

PROBE = Path(__file__).parent / "models" / "probe"


def table(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """A model.toml that runs `graph.onnx` by the probe."""
    return {
        "name": name,
        "backend": "onnx",
        "handler": "probe:Probe",
        "file": "graph.onnx",
        "inputs": {"given": {"kind": "json"}},
        "outputs": {"made": {"kind": "bytes"}},
        "options": options,
    }


def spec(graph: Path, **cuda: Any) -> ModelSpec:
    """The engine's view of a graph with these `[options.cuda]`."""
    return spec_of(table("probe", {"cuda": cuda}) | {"file": graph.name}, graph.parent)


def model(root: Path, graph: Path, name: str, **cuda: Any) -> Model:
    """A model folder of its own with these `[options.cuda]`."""
    folder = root / name
    folder.mkdir()
    shutil.copyfile(PROBE / "probe.py", folder / "probe.py")
    shutil.copyfile(graph, folder / "graph.onnx")
    (folder / "model.toml").write_text(_toml(table(name, {}), cuda))
    return load_model(folder)


def _toml(plain: dict[str, Any], cuda: dict[str, Any]) -> str:
    lines = [f"{key} = {json.dumps(value)}" for key, value in plain.items() if isinstance(value, str)]
    lines += ["[inputs.given]", 'kind = "json"', "[outputs.made]", 'kind = "bytes"', "[options.cuda]"]
    return "\n".join([*lines, *(f"{key} = {json.dumps(value)}" for key, value in cuda.items())])


def write_cpu_only_graph(path: Path) -> Path:
    """`x` float32 [n] → its distinct values: an operator that ONNX Runtime has for the CPU alone."""
    import onnx  # noqa: PLC0415  where there is no GPU, it need not be there
    from onnx import TensorProto, helper  # noqa: PLC0415  idem

    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["m"])
    nodes = [helper.make_node("Abs", ["x"], ["positive"]), helper.make_node("Unique", ["positive"], ["y"])]
    opsets = [helper.make_opsetid("", 17)]
    graph = helper.make_graph(nodes, "unique", [given], [made])
    onnx.save_model(helper.make_model(graph, opset_imports=opsets, ir_version=10), str(path))
    return path
