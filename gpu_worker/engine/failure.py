"""An exception as the fields of a `failed` frame: which kind it is, and what its author wants to read."""

from __future__ import annotations

import importlib
import re
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpu_worker.engine.job import (
    BadInputError,
    BadOutputError,
    CanceledError,
    DeviceMissingError,
    ProviderMissingError,
    Retry,
)
from gpu_worker.engine.spec import SpecError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

_HERE = str(Path(__file__).parent)
# A handler is imported by the engine's own code: what lies between the two is nothing to read either.
_NOT_THE_AUTHOR_S = (_HERE, str(Path(importlib.__file__).parent), "<frozen importlib")
_MAX_MESSAGE = 4_000
_MAX_TRACEBACK = 16_000
_MAX_FRAMES = 20
_MAX_SECONDS = 1e18
_GPU_FAILED = re.compile("CUDA|CUDNN|CUBLAS|cuda runtime", re.IGNORECASE)
_OF_THE_DRIVER = re.compile(
    r"CUDA (driver )?error: |cudaError[A-Z]|CUDA_ERROR_[A-Z]"
    r"|(CUDNN|CUBLAS|CUFFT|CUSOLVER|CUSPARSE)_STATUS_[A-Z]"
)
"""As the driver and its libraries name what went wrong, whoever repeats it."""
_FRAMEWORKS = frozenset(
    {"cupy", "cupy_backends", "jax", "jaxlib", "numba", "pycuda", "tensorflow", "tensorrt", "torch"}
)
_DEEP = 8

_KINDS: tuple[tuple[type[BaseException], str], ...] = (
    (BadInputError, "bad_input"),
    (BadOutputError, "bad_output"),
    (Retry, "retry"),
    (CanceledError, "canceled"),
    (ProviderMissingError, "device"),
    (DeviceMissingError, "device_missing"),
    (SpecError, "model"),
)


def describe(error: BaseException, *, canceled: bool = False) -> dict[str, Any]:
    """The failure's kind, exception type, message and the algorithm's own frames."""
    return {
        "kind": "canceled" if canceled else _kind(error),
        "exception": type(error).__name__,
        "message": text_of(error)[:_MAX_MESSAGE],
        "traceback": trimmed(error),
        "after_s": _seconds(error) if isinstance(error, Retry) else None,
    }


def text_of(error: BaseException) -> str:
    """What an exception says; its name where it says nothing, or fails to (its `__str__` is foreign code)."""
    name = type(error).__name__
    try:
        return str(error) or name
    except BaseException as second:  # noqa: BLE001  the execution step: foreign code may raise anything
        return f"{name} (its text can't be shown: {type(second).__name__} in its __str__)"


def _seconds(error: Retry) -> float | None:
    """Only a number that JSON can hold; the worker judges its size."""
    given = getattr(error, "after_s", None)  # a subclass may have an __init__ of its own
    return float(given) if isinstance(given, int | float) and abs(given) < _MAX_SECONDS else None


def _kind(error: BaseException) -> str:
    if _is_the_devices(error):
        return "device"
    kind = next((kind for type_, kind in _KINDS if isinstance(error, type_)), "algorithm")
    if kind == "algorithm" and any(_is_the_devices(cause) for cause in _causes(error)):
        return "device"  # told in other words: the context is as broken as before
    return kind


def _is_the_devices(error: BaseException) -> bool:
    """Whether a GPU or its driver failed: most such errors fail every later job of the process as well."""
    module = type(error).__module__.partition(".")[0]
    if module in {"onnxruntime", "torch"}:
        return _GPU_FAILED.search(text_of(error)) is not None
    if module in _FRAMEWORKS or (module == "builtins" and not _FRAMEWORKS.isdisjoint(sys.modules)):
        return isinstance(error, Exception) and _OF_THE_DRIVER.search(text_of(error)) is not None
    return False


def _causes(error: BaseException) -> Iterator[BaseException]:
    """What it was raised from, or while; the nearest first."""
    for _ in range(_DEEP):
        cause = error.__cause__ or error.__context__
        if cause is None:
            return
        yield cause
        error = cause


def trimmed(error: BaseException) -> str:
    """The traceback as text, from the first frame that is not the engine's own.

    Where there is none, an error of the engine's own kinds or of syntax says all by itself; any other keeps
    all frames, since it may be a defect of ours.
    """
    frames = own_frames(error.__traceback__)
    if frames is None and not isinstance(error, (SyntaxError, *(kind for kind, _ in _KINDS))):
        frames = error.__traceback__
    try:
        lines = traceback.format_exception(type(error), error, frames, limit=-_MAX_FRAMES)
    except BaseException:  # noqa: BLE001  the execution step: notes and texts are foreign code
        lines = [*traceback.format_tb(frames, limit=-_MAX_FRAMES), text_of(error)]
    return "".join(lines)[-_MAX_TRACEBACK:]


def own_frames(trace: TracebackType | None) -> TracebackType | None:
    """The part of a traceback that starts in the algorithm; None where it never got there."""
    inner = trace
    while inner is not None and inner.tb_frame.f_code.co_filename.startswith(_NOT_THE_AUTHOR_S):
        inner = inner.tb_next
    return inner
