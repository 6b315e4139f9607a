"""A whole engine process on the GPU: memory that runs out, several models, a GPU that is taken away."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gpu_worker.engine.attempt import Limits
from gpu_worker.engine.calls import EngineCall, Inline
from gpu_worker.engine.host import EngineHost
from gpu_worker.engine.launch import Device
from shared.catalog import Model
from shared.errors import AlgorithmError, DeviceError
from tests.gpu.graphs import model
from tests.gpu.memory import used_bytes

pytestmark = [pytest.mark.anyio, pytest.mark.gpu, pytest.mark.timeout(600)]

MIB = 1024**2
CONTEXT = 1536 * MIB
"""What CUDA, cuBLAS and cuDNN themselves take in one process, generously."""


def call(chosen: Model, root: Path, number: int, *, batch: int, dtype: str = "float32") -> EngineCall:
    scratch = root / f"out-{number}"
    scratch.mkdir()
    given = Inline({"seed": number, "batch": batch, "dtype": dtype})
    return EngineCall(f"job-{number}", chosen, {"given": given}, {}, scratch, 300)


def made(result: Any) -> NDArray[Any]:
    array: NDArray[Any] = np.load(io.BytesIO(result.outputs["made"].path.read_bytes()))
    return array


async def test_a_job_runs_on_the_gpu(host: EngineHost, graphs: dict[str, Path], tmp_path: Path) -> None:
    chosen = model(tmp_path, graphs["float32"], "plain")
    report = await host.load(chosen)
    assert report.providers[0] == "CUDAExecutionProvider"
    assert made(await host.run(call(chosen, tmp_path, 1, batch=2))).shape == (2, 1000)


async def test_a_job_too_large_for_the_gpu_costs_itself_only(
    host: EngineHost, graphs: dict[str, Path], tmp_path: Path
) -> None:
    # Given a model that may take 600 MiB of the device
    chosen = model(tmp_path, graphs["float32"], "bounded", gpu_mem_limit=600 * MIB)
    first = made(await host.run(call(chosen, tmp_path, 1, batch=1)))
    # When a job needs several times as much
    with pytest.raises((AlgorithmError, DeviceError), match=r"(?i)memory"):
        await host.run(call(chosen, tmp_path, 2, batch=512))
    # Then it fails with that reason, and the next ones run as before
    again = made(await host.run(call(chosen, tmp_path, 3, batch=1)))
    assert again.shape == first.shape
    assert np.isfinite(again).all()


async def test_two_models_keep_within_their_memory(
    host: EngineHost, graphs: dict[str, Path], tmp_path: Path
) -> None:
    # Given two models of 800 MiB each at most, in one engine
    before, limit = used_bytes(), 800 * MIB
    full = model(tmp_path, graphs["float32"], "full", gpu_mem_limit=limit)
    half = model(tmp_path, graphs["float16"], "half", gpu_mem_limit=limit)
    # When their jobs alternate
    loads = 0
    for number in range(0, 12, 2):
        for chosen, dtype in ((full, "float32"), (half, "float16")):
            job = call(chosen, tmp_path, number + (chosen is half), batch=8, dtype=dtype)
            result = await host.run(job)
            assert np.isfinite(made(result)).all()
            loads += "load_s" in result.timings
    # Then the device holds no more than both, and neither had to be loaded again
    assert used_bytes() - before < 2 * limit + CONTEXT
    assert (host.starts, loads) == (1, 2)


async def test_two_models_under_a_budget_for_one_take_turns(graphs: dict[str, Path], tmp_path: Path) -> None:
    # Given an engine that may hold one model at a time
    held, limits = [], Limits(models_mb=1)
    host = EngineHost(interpreter=None, device=Device("cuda"), scratch=tmp_path / "scratch", limits=limits)
    full = model(tmp_path, graphs["float32"], "full")
    half = model(tmp_path, graphs["float16"], "half")
    try:
        # When their jobs alternate
        for number in range(0, 10, 2):
            for chosen, dtype in ((full, "float32"), (half, "float16")):
                job = call(chosen, tmp_path, number + (chosen is half), batch=4, dtype=dtype)
                result = await host.run(job)
                assert np.isfinite(made(result)).all()
                assert "load_s" in result.timings  # the other one had to leave for it, and it for the other
            held.append(used_bytes())
        # Then each leaves the device's memory to the other, in one and the same process
        assert max(held[1:]) - held[0] < 64 * MIB
        assert host.starts == 1
    finally:
        await host.stop()


async def test_an_engine_that_ended_gives_its_memory_back(
    host: EngineHost, graphs: dict[str, Path], tmp_path: Path
) -> None:
    before = used_bytes()
    await host.run(call(model(tmp_path, graphs["float32"], "plain"), tmp_path, 1, batch=8))
    assert used_bytes() - before > 100 * MIB
    await host.stop()
    assert used_bytes() - before < 100 * MIB


async def test_without_a_visible_gpu_the_job_fails_and_does_not_run_on_the_cpu(
    graphs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    host = EngineHost(interpreter=None, device=Device("cuda"), scratch=tmp_path / "scratch")
    try:
        chosen = model(tmp_path, graphs["float32"], "plain")
        with pytest.raises(DeviceError, match="device cuda"):
            await host.run(call(chosen, tmp_path, 1, batch=1))
    finally:
        await host.stop()
