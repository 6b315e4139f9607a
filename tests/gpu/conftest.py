"""Stands alone (`--confcutdir`): on a machine with Python, a GPU and the wheels, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest

from gpu_worker.engine import device
from gpu_worker.engine.host import EngineHost
from gpu_worker.engine.job import DeviceMissingError
from gpu_worker.engine.launch import Device
from tests.gpu.memory import device_name

HERE = Path(__file__).parent
_told: list[str] = []


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without a GPU, or the packages for it, one line stands for all."""
    own = [item for item in items if item.path.is_relative_to(HERE)]
    if own and (why := _missing()):
        own[0].add_marker(pytest.mark.skip(f"NOT RUN: {len(own)} tests of the GPU: {why}"))
        config.hook.pytest_deselected(items=own[1:])
        items[:] = [item for item in items if item not in own[1:]]


@pytest.fixture(scope="session")
def gpu() -> str:
    """The device's name."""
    import onnxruntime  # noqa: PLC0415  see _missing

    name = device_name()
    _told.append(f"{name}, ONNX Runtime {onnxruntime.__version__}")
    return name


def _missing() -> str:
    try:
        device.require("cuda")
    except DeviceMissingError as error:
        return str(error)
    import onnxruntime  # noqa: PLC0415  after the look at the GPU, which is what is missing on most machines

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return "there is a GPU, but this environment has onnxruntime and not onnxruntime-gpu: `make test-gpu`"
    return ""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in _told:
        terminalreporter.write_line(f"gpu: {line}")


@pytest.fixture(scope="session")
def measured(gpu: str) -> list[str]:
    """Lines for the end of the run."""
    assert gpu
    return _told


@pytest.fixture(scope="session")
def graphs(gpu: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """ResNet-50's shape with seeded weights, by element type."""
    assert gpu
    from benchmarks.engine.resnet import write_resnet50  # noqa: PLC0415  needs the package onnx

    folder = tmp_path_factory.mktemp("graphs")
    made = {"float32": folder / "float32.onnx", "float16": folder / "float16.onnx"}
    write_resnet50(made["float32"], np.float32)
    write_resnet50(made["float16"], np.float16)
    yield made
    for path in made.values():
        path.unlink()


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[EngineHost]:
    """An engine process on the GPU."""
    host = EngineHost(interpreter=None, device=Device("cuda"), scratch=tmp_path / "scratch")
    yield host
    await host.stop()
