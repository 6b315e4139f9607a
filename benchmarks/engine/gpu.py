"""The card, and the environment that can use it: looked for before anything starts."""

from __future__ import annotations

import subprocess
from pathlib import Path

from benchmarks.running import ROOT
from deploy.local.failure import StackError
from gpu_worker.engine import device
from gpu_worker.engine.job import DeviceMissingError
from gpu_worker.engine.onnx_options import CUDA
from gpu_worker.nvml import Cards

PYTHON = ROOT / ".venv-gpu" / "bin" / "python"
"""onnxruntime and onnxruntime-gpu are one package twice: the GPU's lies in an environment of its own."""
DRIVER = Path("/sys/module/nvidia/version")
LOOK = "import onnxruntime; print(onnxruntime.__version__, *onnxruntime.get_available_providers())"
LOOK_S = 60


def require_gpu(python: Path = PYTHON) -> str:
    """Make sure of a GPU, and of a Python whose ONNX Runtime knows CUDA.

    Returns:
        Card, driver and version of ONNX Runtime, without which a figure means nothing.

    Raises:
        StackError: One of the two is missing.
    """
    try:
        device.require("cuda")
    except DeviceMissingError as error:
        raise StackError(f"nothing was measured on a GPU: {error}") from error
    version = cuda_runtime(python)
    driver = DRIVER.read_text().strip() if DRIVER.exists() else "unknown"
    return f"{Cards().name(None)}, driver {driver}, ONNX Runtime {version}"


def cuda_runtime(python: Path) -> str:
    """The version of this Python's ONNX Runtime.

    Raises:
        StackError: There is none, or none for CUDA.
    """
    if not python.is_file():
        raise StackError(f"nothing was measured on a GPU: there is no {python}, which `make test-gpu` makes")
    looked = subprocess.run(  # noqa: S603  the project's own environment
        [python, "-c", LOOK], capture_output=True, text=True, check=False, timeout=LOOK_S
    )
    version, *providers = looked.stdout.split() or [""]
    if CUDA not in providers:
        found = ", ".join(providers) or looked.stderr.strip() or "nothing"
        raise StackError(f"nothing was measured on a GPU: {python} has no {CUDA}, but {found}")
    return version
