"""The author's loop reads `name=value` as a submit does, and refuses what the gateway would, in its words.

The gateway checks params with `shared.catalog`, which nothing in this folder may import: the rules stand here
a second time, and a test holds the two together. Standard library only.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpu_worker.engine.spec import ModelSpec

_TYPES: dict[str, type] = {"number": int, "integer": int, "string": str, "array": list, "object": dict}


class ArgumentError(Exception):
    """A word of the command line is not what the model takes; the text names it."""


def read_arguments(spec: ModelSpec, words: list[str]) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Inputs as `{"path": …}` or `{"json": …}`, and params, by name.

    Raises:
        ArgumentError: One is unknown, missing, no file, or not of its declared type.
    """
    inputs: dict[str, dict[str, Any]] = {}
    params: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or name not in spec.inputs.keys() | spec.params.keys():
            known = ", ".join([*spec.inputs, *spec.params])
            raise ArgumentError(f"{word!r} is not NAME=VALUE with one of this model's names: {known}")
        if name in spec.inputs:
            inputs[name] = _source(spec.inputs[name], name, text)
        else:
            params[name] = text if spec.params[name].get("type") == "string" else _json_or_text(text)
    _check(spec, inputs, params)
    return inputs, params


def declared(spec: ModelSpec) -> str:
    """What the model takes, for a hint."""
    inline = {"text": "TEXT", "json": "JSON"}
    inputs = [f"{name}={inline.get(kind, '@FILE')}" for name, kind in spec.inputs.items()]
    params = [f"{name}={str(param.get('type', 'value')).upper()}" for name, param in spec.params.items()]
    return "the model takes " + " ".join([*inputs, *params])


def _source(kind: str, name: str, text: str) -> dict[str, Any]:
    if text.startswith("@"):
        path = Path(text[1:]).expanduser()
        if not path.is_file():
            raise ArgumentError(f"{name}: there is no file {text[1:]!r}")
        return {"path": str(path.resolve())}
    if kind == "text":
        return {"json": text}
    if kind == "json":
        return {"json": _json_or_text(text)}
    raise ArgumentError(f"{name}: give a file for an input of kind {kind}, as {name}=@FILE")


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _check(spec: ModelSpec, inputs: dict[str, dict[str, Any]], params: dict[str, Any]) -> None:
    problems = [f"inputs.{name}: is required" for name in sorted(spec.required - inputs.keys())]
    for name, param in spec.params.items():
        if name in params:
            complaint = param_problem(param, params[name])
        else:
            complaint = "is required" if param.get("required") else None
        problems += [f"params.{name}: {complaint}"] if complaint else []
    if problems:
        raise ArgumentError("; ".join(problems))


def param_problem(param: dict[str, Any], value: Any) -> str | None:
    """Say what is wrong with a value for a param that is declared so, or None."""
    if not _has_type(value, param.get("type", "")):
        return f"must be of type {param.get('type')}"
    choices = param.get("choices")
    if choices is not None and value not in choices:
        return f"must be one of {', '.join(map(str, choices))}"
    return _bound_problem(param, value)


def _bound_problem(param: dict[str, Any], value: Any) -> str | None:
    minimum, maximum, longest = param.get("minimum"), param.get("maximum"), param.get("max_length")
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        if minimum is not None and value < minimum:
            return f"must be at least {minimum:g}"
        if maximum is not None and value > maximum:
            return f"must be at most {maximum:g}"
    elif longest is not None and len(value) > longest:
        return f"must not be longer than {longest}"
    return None


def _has_type(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    if isinstance(value, float):
        return name == "number" and math.isfinite(value)
    return name in _TYPES and isinstance(value, _TYPES[name])
