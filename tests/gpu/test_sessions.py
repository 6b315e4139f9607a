"""ONNX Runtime on the GPU as a model gets it: what it computes, and that it is the GPU that does."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gpu_worker.engine.onnx import OnnxSession
from gpu_worker.engine.spec import SpecError
from tests.gpu.graphs import spec, write_cpu_only_graph

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(600)]

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
ROOT = Path(__file__).parents[2]


def feed(batch: int, dtype: str = "float32") -> NDArray[Any]:
    random = np.random.default_rng(batch)
    return random.standard_normal((batch, 3, 224, 224), np.float32).astype(dtype)


def run(session: OnnxSession, given: NDArray[Any]) -> NDArray[Any]:
    (made,) = session.run({"input": given}, ["logits"])
    return np.asarray(made, np.float64)


def distance(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Relative to the second's length."""
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


def test_every_node_is_on_the_gpu(graphs: dict[str, Path]) -> None:
    session = OnnxSession(spec(graphs["float32"]), "cuda")
    assert session.providers[0] == CUDA
    assert session.nodes.keys() == {CUDA}


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        pytest.param({"use_tf32": False}, 1e-3, id="float32"),
        pytest.param({}, 1e-2, id="tf32"),
        pytest.param({"use_tf32": False, "prefer_nhwc": True}, 1e-3, id="channels last"),
        pytest.param({"use_tf32": False, "cudnn_conv_algo_search": "EXHAUSTIVE"}, 1e-3, id="searched"),
        pytest.param({"use_tf32": False, "enable_cuda_graph": True}, 1e-3, id="captured"),
    ],
)
@pytest.mark.parametrize("batch", [1, 4])
def test_the_gpu_agrees_with_the_cpu(
    graphs: dict[str, Path], options: dict[str, Any], tolerance: float, batch: int
) -> None:
    on_gpu, on_cpu = (OnnxSession(spec(graphs["float32"], **options), device) for device in ("cuda", "cpu"))
    expected = run(on_cpu, feed(batch))
    for _ in range(3):  # a captured graph is replayed from the second run on
        found = run(on_gpu, feed(batch))
        assert found.shape == (batch, 1000)
        assert distance(found, expected) < tolerance
    other = feed(batch)[::-1] + 1
    assert distance(run(on_gpu, other), run(on_cpu, other)) < tolerance


def test_half_precision_agrees_with_the_cpu_in_full(graphs: dict[str, Path]) -> None:
    found = run(OnnxSession(spec(graphs["float16"]), "cuda"), feed(4, "float16"))
    expected = run(OnnxSession(spec(graphs["float32"]), "cpu"), feed(4))
    assert np.isfinite(found).all()
    assert distance(found, expected) < 1e-2
    assert (found.argmax(1) == expected.argmax(1)).mean() >= 0.75


def test_a_job_s_result_does_not_depend_on_its_batch(graphs: dict[str, Path]) -> None:
    session = OnnxSession(spec(graphs["float32"], use_tf32=False), "cuda")
    together = run(session, feed(4))
    alone = np.concatenate([run(session, feed(4)[[number]]) for number in range(4)])
    assert distance(together, alone) < 1e-4


def test_strict_refuses_a_graph_with_nodes_for_the_cpu_and_names_them(gpu: str, tmp_path: Path) -> None:
    graph = write_cpu_only_graph(tmp_path / "unique.onnx")
    with pytest.raises(SpecError, match="Unique"):
        OnnxSession(spec(graph), "cuda")


def test_without_strict_they_run_on_the_cpu_and_are_told(
    gpu: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    graph = write_cpu_only_graph(tmp_path / "unique.onnx")
    session = OnnxSession(spec(graph, strict=False), "cuda")
    (made,) = session.run({"x": np.array([3, -3, 1], np.float32)})
    assert sorted(made.tolist()) == [1, 3]
    assert session.nodes.get(CPU)
    assert "Unique" in capfd.readouterr().err


WRONG_CUDA = """
import sys
from pathlib import Path
import onnxruntime
onnxruntime.preload_dlls = lambda *_, **__: None  # the right libraries would win
from gpu_worker.engine.job import DeviceMissingError
from gpu_worker.engine.onnx import OnnxSession
from tests.gpu.graphs import spec
try:
    session = OnnxSession(spec(Path(sys.argv[1])), "cuda")
except DeviceMissingError as error:
    print("refused:", error)
else:
    print("opened:", session.providers[0])
"""


def test_a_wrong_cuda_is_an_error_and_never_the_cpu(graphs: dict[str, Path], tmp_path: Path) -> None:
    # Given libraries of the right names that are no libraries
    for name in ("libcudnn.so.9", "libcublas.so.13", "libcublasLt.so.13", "libcudart.so.13"):
        (tmp_path / name).write_bytes(b"no library")
    done = subprocess.run(
        [sys.executable, "-c", WRONG_CUDA, str(graphs["float32"])],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    # Then it is said that the GPU can't be had (unless ONNX Runtime found the right ones by itself)
    assert done.stdout.startswith(("refused: device cuda", f"opened: {CUDA}")), done.stdout + done.stderr


def test_what_a_batch_is_worth(graphs: dict[str, Path], measured: list[str]) -> None:
    """No assertion on time: the figures stand at the end of the run."""
    session = OnnxSession(spec(graphs["float16"]), "cuda")
    for batch in (1, 8, 32):
        given = feed(batch, "float16")
        for _ in range(5):
            run(session, given)
        began = time.perf_counter()
        for _ in range(20):
            run(session, given)
        rate = 20 * batch / (time.perf_counter() - began)
        measured.append(f"ResNet-50 shape, FP16, batch {batch}, with copies: {rate:.0f} images/s")
