"""The models of the run, copied beside its servers: one is written by a script, one is tried first."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import numpy as np

from benchmarks.engine.plan import BATCH, FP16, FP16_BATCHED
from benchmarks.engine.resnet import write_resnet50
from shared.catalog import CatalogError, load_model

MODELS = Path(__file__).parent / "models"
BATCHING = f"""
[batching]
max_batch_size = {BATCH}
max_queue_delay_ms = 5
"""


STRICT = """
[options.cuda]
strict = true
"""


async def make_catalog(root: Path, gpu_python: Path | None = None) -> bool:
    """Write the models under `root`; returns whether this version of Leveret forms batches.

    Args:
        root: A folder that is not there yet.
        gpu_python: The Python whose ONNX Runtime knows CUDA, where a GPU is measured.
    """
    return await asyncio.to_thread(_make, root, gpu_python)


def _make(root: Path, gpu_python: Path | None) -> bool:
    shutil.copytree(MODELS, root, ignore=shutil.ignore_patterns("__pycache__"))
    if gpu_python is not None:
        write_gpu_models(root, gpu_python)
    write_resnet50(root / "resnet" / "resnet50.onnx")
    return _batched(root / "device", root / "batched")


def write_gpu_models(root: Path, python: Path) -> None:
    """ResNet-50's shape in FP16 for a GPU and nothing else, one by one and in batches."""
    for name, more in ((FP16, ""), (FP16_BATCHED, BATCHING)):
        folder = shutil.copytree(MODELS / "resnet", root / name, ignore=shutil.ignore_patterns("__pycache__"))
        source = folder / "model.toml"
        text = source.read_text().replace('name = "resnet"', f'name = "{name}"')
        queue = f'queue = "{name}"\ninterpreter = {json.dumps(str(python))}'
        source.write_text(text.replace('queue = "resnet"', queue) + STRICT + more)
        write_resnet50(folder / "resnet50.onnx", np.float16)


def _batched(device: Path, folder: Path) -> bool:
    """The device again, under a name and queue of its own, with batches; gone again where there are none."""
    shutil.copytree(device, folder)
    source = folder / "model.toml"
    text = source.read_text().replace('name = "device"', 'name = "batched"')
    source.write_text(text.replace('queue = "device"', 'queue = "batched"') + BATCHING)
    try:
        load_model(folder)
    except CatalogError:
        shutil.rmtree(folder)
        return False
    return True
