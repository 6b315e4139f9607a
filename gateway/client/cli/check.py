"""`leveret models check`: asks the catalog's own reader, and for `--load` the engine's local runner.

Both are other programs, as for `leveret run`: they are started, never imported.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gateway.client.errors import ConfigError, InputError

LOAD_S = 180.0
"""What a worker's engine gives a model to load, unless this variable says otherwise, here as there."""
LOAD_VARIABLE = "LEVERET_WORKER_LOAD_S"
_CHECK_S = 600
_END_S = 10


def check_models(folder: Path) -> dict[str, Any]:
    """What `python -m shared.catalog check` says of a folder; `ok` is added to each of its models.

    Raises:
        ConfigError: The reader's packages are not installed.
        InputError: There is no such folder.
    """
    if find_spec("shared") is None or find_spec("pydantic") is None:
        raise ConfigError("`leveret models check` needs the worker's packages: pip install 'leveret[worker]'")
    done = _started("shared.catalog", "check", str(folder), "--json")
    if not done.stdout:
        raise InputError(_last_line(done.stderr).removeprefix("error: "))
    report: dict[str, Any] = json.loads(done.stdout)
    wrong = [Path(each["file"]) for each in report["mistakes"] if each["fatal"]]
    for model in report["models"]:
        place = Path(model["folder"])
        model["ok"] = not any(file == place or place in file.parents for file in wrong)
    return report


def loaded(model: dict[str, Any], device: str) -> dict[str, Any]:
    """Load a model as the engine does: `ref`, `ok`, and the seconds or what went wrong as `text`.

    Raises:
        ConfigError: The engine is not installed, or the limit is no number of seconds.
    """
    limit_s = _limit_s()
    if find_spec("gpu_worker") is None:
        raise ConfigError("`--load` needs the worker's packages: pip install 'leveret[worker]'")
    words = ("local", model["folder"], "--load-only", "--json", "--device", device)
    try:
        done = _started("gpu_worker.engine", *words, limit_s=limit_s)
    except subprocess.TimeoutExpired:
        text = f"did not load within {limit_s:g} s ({LOAD_VARIABLE})"
        return {"ref": model["ref"], "ok": False, "text": text}
    if done.returncode == 0:
        return {"ref": model["ref"], "ok": True, "text": f"loaded in {_said(done.stdout)['load_s']:g} s"}
    return {"ref": model["ref"], "ok": False, "text": _failure(done)}


def _limit_s() -> float:
    given = os.environ.get(LOAD_VARIABLE, str(LOAD_S))
    try:
        limit_s = float(given)
    except ValueError:
        limit_s = math.nan
    if not 0 < limit_s < math.inf:
        raise ConfigError(f"{LOAD_VARIABLE}: a number of seconds above 0, not {given!r}")
    return limit_s


def _started(module: str, *words: str, limit_s: float = _CHECK_S) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *words]
    with subprocess.Popen(  # noqa: S603  our own module, without a shell
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
    ) as process:
        try:
            stdout, stderr = process.communicate(timeout=limit_s)
        except BaseException:
            _end(process)
            raise
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


def _end(process: subprocess.Popen[str]) -> None:
    """Asked first: it ends what the model started, which would go on for ever."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_END_S)
    process.kill()


def _failure(done: subprocess.CompletedProcess[str]) -> str:
    """Its own sentence where it said one: on stdout of a run, on stderr of a refusal."""
    error = (_said(done.stdout) or _said(done.stderr)).get("error") or {}
    return str(error.get("message") or _last_line(done.stderr) or f"ended with exit status {done.returncode}")


def _said(output: str) -> dict[str, Any]:
    try:
        said = json.loads(_last_line(output))
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _last_line(output: str) -> str:
    return output.strip().rpartition("\n")[2]
