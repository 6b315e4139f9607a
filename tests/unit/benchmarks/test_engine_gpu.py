from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.engine import measuring
from benchmarks.engine.arithmetic import busy_share
from benchmarks.engine.catalog import write_gpu_models
from benchmarks.engine.contenders import LeveretContender
from benchmarks.engine.entries import DeviceEntry, Entries, Inputs
from benchmarks.engine.gpu import cuda_runtime
from benchmarks.engine.leveret import MeasuredLeveret
from benchmarks.engine.measuring import Measuring
from benchmarks.engine.models.resnet.logits import Logits
from benchmarks.engine.plan import BATCH, FP16, FP16_BATCHED, FULL
from benchmarks.engine.report import work_name
from benchmarks.engine.resnet import write_resnet50
from deploy.local.failure import StackError
from deploy.local.progress import Progress
from gpu_worker.engine.onnx import OnnxSession
from gpu_worker.engine.onnx_options import plan_of
from gpu_worker.engine.spec import ModelSpec, spec_of
from shared.catalog import load_model

ROOT = Path(__file__).parents[3]
SETTINGS = {"LEVERET_REDIS_URL": "redis://localhost/0"}
PICTURES = np.random.default_rng(1).standard_normal((2, 3, 224, 224), np.float32)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("catalog")
    write_gpu_models(root, Path("/opt/gpu/bin/python"))
    yield root
    for graph in root.glob("*/*.onnx"):
        graph.unlink()


def spec(folder: Path) -> ModelSpec:
    return spec_of(tomllib.loads((folder / "model.toml").read_text()), folder)


def entries(folder: Path) -> list[DeviceEntry]:
    side = MeasuredLeveret(folder, {})
    side._key = "a-key"
    return list(Entries(folder, SETTINGS, side).gpu(FULL, Inputs("handed", "key", "tensor", "half")))


def test_the_rows_are_one_by_one_and_in_batches_with_few_and_more_slots(tmp_path: Path) -> None:
    rows = entries(tmp_path)
    assert [(entry.work, entry.contender.name) for entry in rows] == [
        (FP16, "Leveret, 1 slot"),
        (FP16, "Leveret, 4 slots"),
        (FP16, "Leveret, 16 slots"),
        (FP16_BATCHED, "Leveret, 1 slot, batches of 8"),
        (FP16_BATCHED, "Leveret, 4 slots, batches of 8"),
        (FP16_BATCHED, "Leveret, 16 slots, batches of 8"),
    ]
    assert [work_name(entry.work) for entry in rows[2:4]] == [
        "ResNet-50, FP16, CUDA, one by one",
        "ResNet-50, FP16, CUDA, 8 at a time",
    ]


def test_every_worker_of_them_is_told_to_use_the_gpu(tmp_path: Path) -> None:
    for entry in entries(tmp_path):
        assert isinstance(entry.contender, LeveretContender)
        assert entry.contender.extra == {"LEVERET_WORKER_DEVICE": "cuda"}
        assert entry.contender.queue == entry.work


def test_their_models_are_strict_and_have_queues_of_their_own(catalog: Path) -> None:
    for name, batch in ((FP16, 1), (FP16_BATCHED, BATCH)):
        model = load_model(catalog / name)
        assert (model.queue, model.interpreter) == (name, "/opt/gpu/bin/python")
        assert model.batching.max_batch_size == batch
        assert plan_of(spec(catalog / name), "cuda").strict
        assert model.options == {"cuda": {"strict": True}}


def logits(session: OnnxSession, pictures: NDArray[Any]) -> NDArray[np.float64]:
    """By the handler of the run: bytes in, one run for all, bytes out."""
    handler = Logits()
    handler.load(SimpleNamespace(session=session))
    items = [handler.prepare(tensor=picture[None].tobytes()) for picture in pictures]
    made = [handler.finish(item, raw) for item, raw in zip(items, handler.infer(items), strict=True)]
    return np.array([np.frombuffer(each, pictures.dtype) for each in made], np.float64)


def test_the_graph_in_half_precision_computes_what_the_full_one_does(catalog: Path, tmp_path: Path) -> None:
    # Given the same seeded weights in both types
    write_resnet50(tmp_path / "resnet50.onnx")
    (tmp_path / "model.toml").write_bytes((catalog / FP16 / "model.toml").read_bytes())
    half, full = (OnnxSession(spec(folder), "cpu") for folder in (catalog / FP16, tmp_path))
    assert (half.takes["input"].dtype, full.takes["input"].dtype) == ("float16", "float32")
    # When both run the same pictures
    found, expected = logits(half, PICTURES.astype(np.float16)), logits(full, PICTURES)
    # Then they agree but for the type's own error
    assert found.shape == expected.shape == (2, 1000)
    assert np.isfinite(found).all()
    assert np.linalg.norm(found - expected) / np.linalg.norm(expected) < 1e-2


@pytest.mark.anyio
async def test_a_batch_is_compared_with_the_card_s_rate_in_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a card that runs 100 times a second, however many pictures it is given
    asked: list[tuple[str, ...]] = []

    async def card(*module: str, **_: Any) -> str:
        asked.append(module[1:])
        return json.dumps({"rate": 100.0, "p50": 0.01})

    monkeypatch.setattr(measuring, "run_module", card)
    run = Measuring(tmp_path, SETTINGS, MeasuredLeveret(tmp_path, {}), FULL, Progress())
    # When its rate alone is measured for both graphs
    for work in (FP16, FP16_BATCHED):
        await run._raw(work)
    # Then eight at a time are eight times the jobs
    assert asked == [
        ("gpu", str(tmp_path / "catalog" / FP16), str(FULL.gpu_jobs), "1"),
        ("gpu", str(tmp_path / "catalog" / FP16_BATCHED), str(FULL.gpu_jobs // BATCH), str(BATCH)),
    ]
    rates = {work: raws[0].rate for work, raws in run.figures.raw.items()}
    assert rates == {FP16: 100, FP16_BATCHED: 800}
    (entry,) = (each for each in entries(tmp_path) if each.contender.name.endswith("16 slots, batches of 8"))
    assert busy_share(400, rates[FP16_BATCHED], entry.batch) == 0.5


def run_here(*module: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *module],
        cwd=ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},  # also where there is a card
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_without_a_gpu_the_run_is_refused_before_anything_starts() -> None:
    done = run_here("benchmarks.engine", "--only", "gpu")
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("nothing was measured on a GPU: device cuda: ")


def test_an_environment_without_cuda_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"no CUDAExecutionProvider, but .*CPUExecutionProvider"):
        cuda_runtime(Path(sys.executable))
    with pytest.raises(StackError, match="make test-gpu"):
        cuda_runtime(tmp_path / "python")


def test_the_work_alone_is_never_measured_on_the_cpu_instead(catalog: Path) -> None:
    done = run_here("benchmarks.engine.raw", "gpu", str(catalog / FP16), "1", "1")
    assert done.returncode != 0
    assert done.stdout == ""
    assert "ProviderMissingError: device cuda" in done.stderr
