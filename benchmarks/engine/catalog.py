"""The models of the run, copied beside its servers: one is written by a script, one is tried first."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from benchmarks.engine.plan import BATCH
from benchmarks.engine.resnet import write_resnet50
from shared.catalog import CatalogError, load_model

MODELS = Path(__file__).parent / "models"
BATCHING = f"""
[batching]
max_batch_size = {BATCH}
max_queue_delay_ms = 5
"""


async def make_catalog(root: Path) -> bool:
    """Write the models under `root`; returns whether this version of Leveret forms batches."""
    return await asyncio.to_thread(_make, root)


def _make(root: Path) -> bool:
    shutil.copytree(MODELS, root, ignore=shutil.ignore_patterns("__pycache__"))
    write_resnet50(root / "resnet" / "resnet50.onnx")
    return _batched(root / "device", root / "batched")


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
