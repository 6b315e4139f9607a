"""`python -m benchmarks.engine.raw WHAT FOLDER COUNT [HOLD_MS or BATCH]`: the work, with nothing around it.

Calls a handler's `infer`, or ONNX Runtime's `session.run`, so many times in a row and prints one line of
JSON: calls per second, and the median of one call in seconds. A process of its own, as an engine is one.
"""

from __future__ import annotations

import json
import os
import sys
import time
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from benchmarks.figures import median

if TYPE_CHECKING:
    from collections.abc import Callable

WARM_UP = 3


def main(what: str, folder: str, count: str, much: str = "0") -> None:
    """Measure one kind of work."""
    call = {"device": _device, "resnet": _resnet, "noop": _noop, "gpu": _gpu}[what](Path(folder), float(much))
    for _ in range(WARM_UP):
        call()
    took = [_timed(call) for _ in range(int(count))]
    print(json.dumps({"rate": len(took) / sum(took), "p50": median(took)}))


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _device(folder: Path, hold_ms: float) -> Callable[[], object]:
    from benchmarks.engine.models.device.device import Device  # noqa: PLC0415  only where it is asked for

    handler = Device()
    handler.load(SimpleNamespace(folder=folder))
    item = handler.prepare(data=b"", hold_ms=hold_ms)
    return lambda: handler.infer([item])


def _noop(_: Path, __: float) -> Callable[[], object]:
    from benchmarks.engine.models.noop.noop import noop  # noqa: PLC0415  idem

    return lambda: noop(1)


def _resnet(folder: Path, _: float) -> Callable[[], object]:
    """With the options of the engine's own CPU session: all cores, no spinning."""
    import numpy as np  # noqa: PLC0415  idem
    import onnxruntime  # noqa: PLC0415  idem

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session: Any = onnxruntime.InferenceSession(
        str(folder / "resnet50.onnx"), options, providers=["CPUExecutionProvider"]
    )
    feeds = {"input": np.zeros((1, 3, 224, 224), np.float32)}
    return lambda: session.run(None, feeds)


def _gpu(folder: Path, batch: float) -> Callable[[], object]:
    """With the engine's own options for CUDA, and as strict: no node runs on the CPU. Copies are in it."""
    import numpy as np  # noqa: PLC0415  idem
    import onnxruntime  # noqa: PLC0415  idem

    from gpu_worker.engine.onnx import open_session  # noqa: PLC0415  idem
    from gpu_worker.engine.onnx_options import plan_of  # noqa: PLC0415  idem
    from gpu_worker.engine.spec import spec_of  # noqa: PLC0415  idem

    spec = spec_of(tomllib.loads((folder / "model.toml").read_text()), folder)
    session = open_session(onnxruntime, spec, plan_of(spec, "cuda"))
    feeds = {"input": np.zeros((int(batch), 3, 224, 224), np.float16)}
    return lambda: session.run(None, feeds)


if __name__ == "__main__":
    main(*sys.argv[1:])
