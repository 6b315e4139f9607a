"""Values in and out of an algorithm: each kind's file or JSON decoded before it, its result written after it.

| kind  | the algorithm gets            | the algorithm may return                          |
|-------|-------------------------------|---------------------------------------------------|
| image | PIL.Image, RGB or RGBA        | PIL.Image, uint8 array, encoded bytes, Path       |
| audio | pathlib.Path                  | encoded bytes, Path                               |
| text  | str                           | str                                               |
| json  | the value                     | anything JSON holds, numpy numbers and arrays too |
| bytes | bytes                         | bytes, Path, an array (written as .npy)           |
"""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

from gpu_worker.engine.job import BadInputError, BadOutputError
from gpu_worker.engine.options import picture_limits
from gpu_worker.engine.spec import ModelSpec

Output = dict[str, Any]
"""`content_type` and `metadata` of one output, and its `path`, or its `text` where it is a short one."""

INLINE_BYTES = 64 * 1024
"""A text up to this long crosses in the answer itself: a file costs more than it."""

_SUFFIXES = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
    "image/bmp": ".bmp",
    "image/tiff": ".tif",
    "audio/wav": ".wav",
    "text/plain": ".txt",
    "application/json": ".json",
}


def check_options(spec: ModelSpec) -> None:
    """Read the options of decoding when the model loads: its first job would be late to hear of a mistake.

    Raises:
        SpecError: One is of the wrong form.
    """
    if "image" in spec.inputs.values():
        picture_limits(spec.options, spec.folder)


def decode_inputs(spec: ModelSpec, given: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The inputs by name as values; each is given as `{"path": …}` or `{"json": …}`.

    Raises:
        BadInputError: One is missing, unknown or not of its kind.
    """
    if missing := sorted(spec.required - given.keys()):
        raise BadInputError(f"inputs.{missing[0]}: is required")
    if unknown := sorted(given.keys() - spec.inputs.keys()):
        raise BadInputError(f"inputs.{unknown[0]}: this model has no such input")
    return {name: _decode(spec, name, source) for name, source in given.items()}


def _decode(spec: ModelSpec, name: str, source: dict[str, Any]) -> Any:
    kind = spec.inputs[name]
    if "path" not in source:
        return _inline(kind, name, source.get("json"))
    path = Path(source["path"])
    if kind == "image":
        return _pictures().read_image(path, name, picture_limits(spec.options, spec.folder))
    if kind == "audio":
        return path
    return _decode_bytes(kind, name, path.read_bytes())


def _inline(kind: str, name: str, value: Any) -> Any:
    if kind == "json" or (kind == "text" and isinstance(value, str)):
        return value
    raise BadInputError(f"inputs.{name}: is of kind {kind}, which can't be given as JSON")


def _decode_bytes(kind: str, name: str, data: bytes) -> Any:
    if kind == "bytes":
        return data
    try:
        text = data.decode()
        return text if kind == "text" else json.loads(text)
    except RecursionError as error:
        raise BadInputError(f"inputs.{name}: JSON that is nested too deeply") from error
    except ValueError as error:
        raise BadInputError(
            f"inputs.{name}: not {'JSON' if kind == 'json' else 'UTF-8 text'}: {error}"
        ) from error


def encode_outputs(spec: ModelSpec, value: Any, folder: Path, *, inline: bool = False) -> dict[str, Output]:
    """What the algorithm returned, one output for each that is declared, most of them files in `folder`.

    Args:
        spec: What is declared.
        value: What was returned.
        folder: Made when it is needed.
        inline: Short texts need no file.

    Raises:
        BadOutputError: It is not what model.toml declares.
    """
    return {
        name: _encode(spec, name, made, folder, inline=inline) for name, made in _by_name(spec, value).items()
    }


def _by_name(spec: ModelSpec, value: Any) -> dict[str, Any]:
    declared = set(spec.outputs)
    if not declared and value is not None:
        raise BadOutputError(f"no outputs are declared, so None is expected, not {type(value).__name__}")
    if not declared:
        return {}
    named = isinstance(value, dict) and set(value) == declared
    if len(declared) == 1:
        (name,) = declared
        wrapped = named and spec.outputs[name][0] != "json"  # a JSON output may well be a dict itself
        return dict(value) if wrapped else {name: value}
    if not named:
        found = ", ".join(map(str, value)) if isinstance(value, dict) else type(value).__name__
        raise BadOutputError(f"expected a dict with the outputs {', '.join(sorted(declared))}, not {found}")
    return dict(value)


def _encode(spec: ModelSpec, name: str, value: Any, folder: Path, *, inline: bool) -> Output:
    kind, content_type = spec.outputs[name]
    if kind not in {"text", "json"}:
        return _encode_file(spec, name, value, folder)
    data = _bytes_of(kind, value, name)
    if inline and len(data) <= INLINE_BYTES:
        return {"text": data.decode(), "content_type": content_type, "metadata": {}}
    path = _place(folder, name, content_type)
    path.write_bytes(data)
    return {"path": str(path), "content_type": content_type, "metadata": {}}


def _encode_file(spec: ModelSpec, name: str, value: Any, folder: Path) -> Output:
    kind, content_type = spec.outputs[name]
    path = _place(folder, name, content_type)
    metadata: dict[str, Any] = {}
    if isinstance(value, Path):
        _copy(value, path, name)
    elif isinstance(value, bytes | bytearray | memoryview):
        path.write_bytes(value)
    elif kind == "image":
        metadata = _pictures().write_image(value, path, content_type, name)
        _json_of(metadata, name)  # a subclass may say anything of its size
    else:
        path.write_bytes(_bytes_of(kind, value, name))
    return {"path": str(path), "content_type": content_type, "metadata": metadata}


def _place(folder: Path, name: str, content_type: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}{_SUFFIXES.get(content_type, '.bin')}"


def _pictures() -> ModuleType:
    from gpu_worker.engine import pictures  # noqa: PLC0415  a text model's environment has no Pillow

    return pictures


def _copy(source: Path, target: Path, name: str) -> None:
    if not source.is_file():
        raise BadOutputError(f"outputs.{name}: there is no file {source}")
    if source.resolve() != target.resolve():
        shutil.copyfile(source, target)


def _bytes_of(kind: str, value: Any, name: str) -> bytes:
    if kind == "text" and isinstance(value, str):
        return _utf8_of(value, name)
    if kind == "json":
        return _json_of(value, name)
    if kind == "bytes" and hasattr(value, "__array_interface__"):
        return _npy_of(value)
    raise BadOutputError(f"outputs.{name}: expected a value of kind {kind}, not {type(value).__name__}")


def _utf8_of(value: str, name: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise BadOutputError(f"outputs.{name}: not UTF-8: {error}") from error


def _json_of(value: Any, name: str) -> bytes:
    try:
        return json.dumps(value, allow_nan=False, default=_from_numpy).encode()
    except RecursionError as error:
        raise BadOutputError(f"outputs.{name}: nested too deeply for JSON") from error
    except (TypeError, ValueError) as error:
        raise BadOutputError(f"outputs.{name}: not JSON: {error}") from error


def _from_numpy(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _npy_of(value: Any) -> bytes:
    import numpy as np  # noqa: PLC0415  only where a model makes arrays

    data = io.BytesIO()
    np.save(data, value, allow_pickle=False)
    return data.getvalue()
