"""How an engine process is started: which Python, which environment, and which of our code it can see.

The engine's PYTHONPATH is a private folder that holds `gpu_worker` with `engine` and `handlers` and nothing
else, so another interpreter never meets the worker's site-packages and an algorithm can't import the worker.
Its environment is an allow-list: a credential that is not on it can't leak, whatever it is called.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

SHARE = "LEVERET_ENGINE_SHARE"
"""The variable that tells an engine how many of them share the cores."""

_PR_SET_DUMPABLE = 4
_ENGINE = Path(__file__).resolve().parent
_ROOMS = (_ENGINE, _ENGINE.parent / "handlers")

_ALLOWED = re.compile(
    r"PATH|HOME|LANG|LC_[A-Z]+|TZ|TERM|LD_LIBRARY_PATH|XDG_CACHE_HOME|HF_HOME"
    r"|(CUDA|NVIDIA|PYTORCH|TORCH|TF|XLA|KERAS|ORT|OMP|MKL|KMP|OPENBLAS)_\w+"
)
_SECRET = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|_KEY\b|^TF_(VAR|CLI)_", re.IGNORECASE)
"""Terraform's names begin as TensorFlow's do."""


@dataclass(frozen=True, slots=True)
class Device:
    """What one engine process computes on.

    Attributes:
        kind: ``cpu`` or ``cuda``.
        gpu: The one GPU it sees, as CUDA_VISIBLE_DEVICES names it; None for those the worker sees.
        share: So many processes share the cores.
    """

    kind: str
    gpu: str | None = None
    share: int = 1


def hide_worker() -> None:
    """Close this process's memory and environment under /proc to its own user, and so to every algorithm.

    The worker calls this once, at its start: an engine has the worker's user id and could else read the
    credentials out of /proc/PID/environ. (Root with CAP_SYS_PTRACE still can: run workers as a plain user.)
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0)


def python_path(folder: Path) -> Path:
    """Make the private folder for PYTHONPATH inside `folder`; returns it."""
    package = folder / "python" / "gpu_worker"
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").write_text('"""Only the engine\'s rooms are here."""\n')
    for room in _ROOMS:
        link = package / room.name
        if not link.is_symlink():
            link.symlink_to(room, target_is_directory=True)
    return package.parent


def environment(folder: Path, *, device: Device) -> dict[str, str]:
    """The scrubbed environment of an engine whose private files lie in `folder`."""
    allowed = {name: value for name, value in os.environ.items() if _ALLOWED.fullmatch(name)}
    kept = {name: value for name, value in allowed.items() if not _SECRET.search(name)}
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    own = {
        "PYTHONPATH": str(python_path(folder)),
        "PYTHONSAFEPATH": "1",  # the current folder is not a place to import from
        "PYTHONNOUSERSITE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",  # a model's folder stays as its digests pin it
        "PYTHONUNBUFFERED": "1",  # what is printed is seen while the job runs
        "PYTHONFAULTHANDLER": "1",  # a segfault leaves the line that caused it
        "PYTHONIOENCODING": "utf-8:backslashreplace",
        "TMPDIR": str(temporary),
        SHARE: str(device.share),
    }
    return kept | own | _visible(device)


def _visible(device: Device) -> dict[str, str]:
    if device.kind == "cpu":
        return {"CUDA_VISIBLE_DEVICES": ""}  # no framework may find a GPU by itself
    return {} if device.gpu is None else {"CUDA_VISIBLE_DEVICES": device.gpu}


def command(interpreter: str | None, *arguments: str) -> list[str]:
    """The command line of an engine: `interpreter`, or the Python that runs this."""
    return [interpreter or sys.executable, "-m", "gpu_worker.engine", *arguments]
