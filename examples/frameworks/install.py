"""Installs the TensorFlow and PyTorch examples, each with an environment of its own.

    python -m examples.frameworks.install CATALOG [--only NAME] [--environments DIR]

For each: a virtual environment with the pinned packages, the model's folder in the catalog with its
`interpreter` pointing there, and weights that a seeded script trains in seconds. What is there is kept.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from shared.catalog import write_index

HERE = Path(__file__).resolve().parent
WEIGHTS = {"keras_shapes": "shapes.keras", "torch_denoise": "denoise.pt"}
MODELS = tuple(WEIGHTS)
PACKAGES_S = 1800
TRAINING_S = 600
_INTERPRETER = re.compile(r'^interpreter = ".*"$', re.MULTILINE)
_NOT_SERVED = {"make_weights.py"}


class InstallError(Exception):
    """An example can't be installed; the text says why."""


def install(catalog: Path, environments: Path, only: tuple[str, ...] = MODELS) -> Path:
    """Install the examples and pin them in the catalog's index; returns the index's path.

    Raises:
        InstallError: Packages can't be had here, or the training failed.
    """
    for name in only:
        python = make_environment(HERE / name / "requirements.txt", environments / name)
        _install_model(name, catalog / name, python)
    return write_index(catalog)


def make_environment(requirements: Path, place: Path) -> Path:
    """A virtual environment with exactly these packages; returns its Python.

    Raises:
        InstallError: A package can't be had for this machine.
    """
    python, stamp = place / "bin" / "python", place / "installed"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text() == digest:
        return python
    _run(
        [sys.executable, "-m", "venv", "--clear", "--without-pip", str(place)], f"making {place}", PACKAGES_S
    )
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "--no-input"]
    options = ["--no-cache-dir", "--only-binary=:all:", "--require-hashes", "-r", str(requirements)]
    _run(
        [*pip, "install", "--quiet", *options],
        f"installing {requirements.parent.name}'s packages",
        PACKAGES_S,
    )
    stamp.write_text(digest)  # last: an environment without it is made anew
    return python


def _install_model(name: str, folder: Path, python: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for source in sorted((HERE / name).glob("*.py")):
        if source.name not in _NOT_SERVED:
            shutil.copyfile(source, folder / source.name)
    if not (folder / WEIGHTS[name]).is_file():
        _train(name, folder, python)
    table = (HERE / name / "model.toml").read_text()
    (folder / "model.toml").write_text(_INTERPRETER.sub(f'interpreter = "{python}"', table))


def _train(name: str, folder: Path, python: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{name}-") as draft:
        _run([str(python), str(HERE / name / "make_weights.py"), draft], f"training {name}", TRAINING_S)
        (Path(draft) / WEIGHTS[name]).replace(folder / WEIGHTS[name])


def _run(command: list[str], what: str, limit_s: float) -> None:
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "CUDA_VISIBLE_DEVICES": ""}
    try:
        done = subprocess.run(  # noqa: S603  our own words
            command, capture_output=True, text=True, check=False, timeout=limit_s, env=environment
        )
    except subprocess.TimeoutExpired as error:
        raise InstallError(f"{what} took longer than {limit_s:g} s") from error
    if done.returncode != 0:
        raise InstallError(f"{what} failed:\n{(done.stderr or done.stdout).strip()[-2000:]}")


def main() -> int:
    """Install into the catalog named on the command line."""
    parser = argparse.ArgumentParser(description="Install the TensorFlow and PyTorch examples.")
    parser.add_argument("catalog", type=Path, help="the catalog's folder")
    parser.add_argument("--only", action="append", choices=MODELS, help="only this example (may be repeated)")
    parser.add_argument("--environments", type=Path, help="default: a folder beside the catalog")
    chosen = parser.parse_args()
    catalog = chosen.catalog.resolve()
    environments = (chosen.environments or catalog.parent / "environments").resolve()
    try:
        install(catalog, environments, tuple(chosen.only or MODELS))
    except InstallError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"models: {', '.join(chosen.only or MODELS)} in {catalog}, their environments in {environments}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
