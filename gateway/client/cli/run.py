"""`leveret run`: hands over to the engine's own local runner, which starts the Python that the model names.

The engine is another program: it is started, never imported.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, NoReturn

from cyclopts import Parameter

from gateway.client.cli.session import NO_OPTIONS, Common
from gateway.client.cli.values import split_values
from gateway.client.errors import ConfigError


def run(
    folder: Path,
    /,
    *values: str,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    pdb: Annotated[bool, Parameter(negative="")] = False,
    device: Literal["cpu", "cuda"] = "cpu",
    common: Common = NO_OPTIONS,
) -> NoReturn:
    """Run a model folder here, without any server.

    Args:
        folder: The folder with the model.toml.
        values: Inputs and params: image=@face.jpg, size=128.
        out: Save the outputs in this folder; `out` by default.
        pdb: Stop in the debugger where the algorithm fails.
        device: What to compute on; cuda fails rather than falling back.
        common: Options of every command.
    """
    split_values(values)
    if find_spec("gpu_worker") is None:
        raise ConfigError("`leveret run` needs the worker's packages: pip install 'leveret[worker]'")
    options = [*(["--out", str(out)] if out else []), *(["--json"] if common.json else [])]
    options += ["--debug"] if common.debug else []
    options += [*(["--pdb"] if pdb else []), "--device", device]
    sys.stdout.flush()
    # The debugger needs this very terminal, so the runner takes this process's place.
    words = [sys.executable, "-m", "gpu_worker.engine", "local", str(folder), *values, *options]
    os.execv(sys.executable, words)  # noqa: S606  our own module, without a shell
