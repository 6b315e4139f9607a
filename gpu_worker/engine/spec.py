"""What the engine needs to know of a model, out of a model.toml or a load frame (the two have one shape).

The catalog has checked the table before it comes here; the author's loop reads it unchecked, so a missing key
still gets a sentence. Standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# The catalog says the same to the gateway; neither side may import the other.
CONTENT_TYPES = {
    "image": "image/png",
    "audio": "audio/wav",
    "text": "text/plain",
    "json": "application/json",
    "bytes": "application/octet-stream",
}


class SpecError(Exception):
    """A model's table or code does not fit together; the text says what to change."""


@dataclass(frozen=True, slots=True)
class Batching:
    """How jobs share an `infer`: at most so many, the first of them waiting at most so long for others."""

    max_size: int
    max_delay_s: float


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model as the engine runs it.

    Attributes:
        inputs: Kind by input name; `required` are those a job must give.
        outputs: Kind and content type by output name.
    """

    ref: str
    folder: Path
    backend: str
    handler: str
    file: str | None
    inputs: dict[str, str]
    required: frozenset[str]
    outputs: dict[str, tuple[str, str]]
    params: dict[str, dict[str, Any]]
    options: dict[str, Any] = field(default_factory=dict)
    batching: Batching | None = None

    @property
    def path(self) -> Path:
        """The model's weights."""
        if self.file is None:
            raise SpecError(f'{self.ref}: backend "onnx" needs `file`, the .onnx file in the model\'s folder')
        return self.folder / self.file

    def defaults(self) -> dict[str, Any]:
        """The params' declared defaults."""
        return {
            name: param["default"] for name, param in self.params.items() if param.get("default") is not None
        }


def spec_of(table: dict[str, Any], folder: Path) -> ModelSpec:
    """The spec of a model.toml's table.

    Raises:
        SpecError: A key is missing or of the wrong shape.
    """
    try:
        return _spec_of(table, folder)
    except KeyError as error:
        raise SpecError(f"{folder / 'model.toml'}: {error.args[0]} is missing") from error
    except (AttributeError, TypeError) as error:
        raise SpecError(f"{folder / 'model.toml'}: a table is not of the right shape: {error}") from error


def _spec_of(table: dict[str, Any], folder: Path) -> ModelSpec:
    inputs = table["inputs"].items()
    return ModelSpec(
        ref=f"{table['name']}@{table.get('version', '1')}",
        folder=folder,
        backend=table["backend"],
        handler=table["handler"],
        file=table.get("file"),
        inputs={name: given["kind"] for name, given in inputs},
        required=frozenset(name for name, given in inputs if given.get("required", True)),
        outputs={name: _output_of(made) for name, made in (table.get("outputs") or {}).items()},
        params=dict(table.get("params") or {}),
        options=dict(table.get("options") or {}),
        batching=_batching_of(table.get("batching") or {}),
    )


def _batching_of(table: dict[str, Any]) -> Batching | None:
    size = int(table.get("max_batch_size", 1))
    return Batching(size, float(table.get("max_queue_delay_ms", 0)) / 1000) if size > 1 else None


def _output_of(made: dict[str, Any]) -> tuple[str, str]:
    kind = made["kind"]
    return kind, made.get("content_type") or CONTENT_TYPES.get(kind, CONTENT_TYPES["bytes"])
