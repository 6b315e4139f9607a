"""Puts the port into a catalog: `python -m examples.from_celery.install DEST`. The weights are `cutout`'s."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from examples.models.install import InstallError
from examples.models.install import install as install_example
from shared.catalog import write_index

HERE = Path(__file__).resolve().parent
WEIGHTS = "u2netp.onnx"


def install(destination: Path) -> Path:
    """Copy the two models, the algorithm's file into each, and the weights; returns those of the first.

    Raises:
        InstallError: The weights can't be fetched.
    """
    for model in ("matte", "coverage"):
        folder = destination / model
        folder.mkdir(parents=True, exist_ok=True)
        for file in (*(HERE / "after" / model).glob("*.*"), HERE / "matting.py"):
            shutil.copy(file, folder)
    with tempfile.TemporaryDirectory() as scratch:
        install_example(Path(scratch), ("cutout",))
        shutil.copy(Path(scratch) / "cutout" / WEIGHTS, destination / "matte" / WEIGHTS)
    write_index(destination)
    return destination / "matte" / WEIGHTS


if __name__ == "__main__":
    try:
        print(f"weights: {install(Path(sys.argv[1]))}")
    except InstallError as error:
        sys.exit(f"error: {error}")
