"""What a model.toml may say, and what a submit may say to that model.

Pydantic reads the tables and they never change afterwards. No file is opened here but through the index.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from shared.catalog.index import IndexMismatchError, verify_folder
from shared.errors import Misconfigured
from shared.jobs import DEFAULT_MAX_ATTEMPTS

MAX_INPUT_BYTES = 64 * 1024 * 1024

Kind = Literal["image", "audio", "text", "json", "bytes"]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
Version = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
# Inputs and params are passed to a plain function by keyword, so their names must be Python's.
Argument = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
HandlerRef = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
ContentType = Annotated[str, StringConstraints(pattern=r"^[a-z]+/([a-z0-9][a-z0-9.+-]*|\*)$")]

Problem = tuple[str, str]
"""A field path such as `params.size`, and what is wrong with it."""

OUTPUT_TYPES: dict[Kind, str] = {
    "image": "image/png",
    "audio": "audio/wav",
    "text": "text/plain",
    "json": "application/json",
    "bytes": "application/octet-stream",
}


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong with a model's folder or the catalog.

    Attributes:
        file: Where.
        text: What is wrong, and what to do about it.
        key: Of the TOML file, as `inputs.image.kind`; empty where it is about the file as such.
        fatal: False for what may be well where the model will run.
    """

    file: str
    text: str
    key: str = ""
    fatal: bool = True

    def __str__(self) -> str:
        return f"{self.file}: {self.key}: {self.text}" if self.key else f"{self.file}: {self.text}"


class CatalogError(Misconfigured):
    """A model folder or the catalog is wrong; the text names the file, the key and the remedy.

    Attributes:
        mistakes: All of them, where they were looked for one by one.
    """

    def __init__(self, *mistakes: Mistake | str) -> None:
        super().__init__("\n".join(map(str, mistakes)))
        self.mistakes = tuple(each for each in mistakes if isinstance(each, Mistake))


@dataclass(frozen=True, slots=True)
class Given:
    """What a submit says about one input before any byte is read; None means not known yet.

    `inline` marks a value written in the request itself (`{"json": …}`), which is in `value`.
    """

    content_type: str | None = None
    size: int | None = None
    inline: bool = False
    value: Any = None


class _Table(BaseModel):
    """A table of model.toml: unknown keys are refused, nothing is converted, nothing changes later."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class Input(_Table):
    """One named input of a model."""

    kind: Kind
    required: bool = True
    max_bytes: int = Field(default=MAX_INPUT_BYTES, ge=1)
    content_types: list[ContentType] = []
    description: str = ""

    def problem(self, given: Given) -> str | None:
        """Say what is wrong with a given input, or None."""
        if given.inline:
            return self._inline_problem(given.value)
        if given.size is not None and given.size > self.max_bytes:
            return f"is {given.size} bytes; at most {self.max_bytes} are accepted"
        if given.content_type and not self._accepts(given.content_type):
            return f"is {given.content_type}; accepted: {', '.join(self.content_types)}"
        return None

    def _inline_problem(self, value: Any) -> str | None:  # Any: whatever JSON holds
        if self.kind == "json" or (self.kind == "text" and isinstance(value, str)):
            return None
        return f"is of kind {self.kind}: give it as an upload, a uri or data, not as JSON"

    def _accepts(self, content_type: str) -> bool:
        bare = content_type.partition(";")[0].strip().lower()
        generic = bare == "application/octet-stream"  # what clients send when they don't know
        wildcard = f"{bare.partition('/')[0]}/*"
        return (
            not self.content_types or generic or bare in self.content_types or wildcard in self.content_types
        )


class Output(_Table):
    """One named output of a model; its content type follows from the kind when it is not said."""

    kind: Kind
    content_type: ContentType = ""
    description: str = ""

    @model_validator(mode="after")
    def _fill_content_type(self) -> Self:
        if not self.content_type:
            object.__setattr__(self, "content_type", OUTPUT_TYPES[self.kind])
        return self


class Param(_Table):
    """One parameter, in the words of JSON Schema."""

    type: Literal["number", "integer", "string", "boolean", "array", "object"]
    default: Any = None
    required: bool = False
    minimum: float | None = Field(default=None)
    maximum: float | None = Field(default=None)
    choices: list[Any] | None = Field(default=None, min_length=1)
    max_length: int | None = Field(default=None, ge=0)
    description: str = ""

    @model_validator(mode="after")
    def _check_itself(self) -> Self:
        for value in [*(self.choices or []), *([] if self.default is None else [self.default])]:
            if complaint := self.problem(value):
                raise ValueError(f"its own default or choice {value!r} {complaint}")
        return self

    def problem(self, value: Any) -> str | None:  # Any: whatever JSON holds
        """Say what is wrong with a given value, or None."""
        if not _has_type(value, self.type):
            return f"must be of type {self.type}"
        if self.choices is not None and value not in self.choices:
            return f"must be one of {', '.join(map(str, self.choices))}"
        return self._bound_problem(value)

    def _bound_problem(self, value: Any) -> str | None:
        if isinstance(value, int | float) and not isinstance(value, bool):
            if self.minimum is not None and value < self.minimum:
                return f"must be at least {self.minimum:g}"
            if self.maximum is not None and value > self.maximum:
                return f"must be at most {self.maximum:g}"
        elif self.max_length is not None and not isinstance(value, bool) and len(value) > self.max_length:
            return f"must not be longer than {self.max_length}"
        return None

    def json_schema(self) -> dict[str, Any]:
        """The parameter as JSON Schema."""
        schema = self.model_dump(exclude_none=True, exclude={"choices", "required", "max_length"})
        if self.choices is not None:
            schema["enum"] = self.choices
        if self.max_length is not None:
            schema[{"string": "maxLength", "array": "maxItems"}.get(self.type, "maxProperties")] = (
                self.max_length
            )
        return {key: value for key, value in schema.items() if value != ""}


def _has_type(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    if isinstance(value, float):
        return name == "number" and math.isfinite(value)
    wanted: dict[str, type] = {"number": int, "integer": int, "string": str, "array": list, "object": dict}
    return name in wanted and isinstance(value, wanted[name])


MAX_GRACE_S = 600


class Batching(_Table):
    """How many jobs may share one `infer`, and how long the first of them waits for the others."""

    max_batch_size: int = Field(default=1, ge=1, le=4096)
    max_queue_delay_ms: float = Field(default=0, ge=0, le=60_000)


class ModelTable(_Table):
    """The whole of a model.toml."""

    name: Name
    version: Version = "1"
    description: str = ""
    queue: Name = "default"
    backend: Literal["onnx", "python"]
    handler: HandlerRef
    file: str | None = None
    interpreter: str | None = None
    timeout_s: float = Field(default=60, gt=0, le=7 * 86400)
    max_attempts: int = Field(default=DEFAULT_MAX_ATTEMPTS, ge=1, le=20)
    retry_on: list[str] = []
    inputs: dict[Argument, Input] = Field(min_length=1)
    outputs: dict[Argument, Output] = {}
    params: dict[Argument, Param] = {}
    options: dict[str, Any] = {}
    batching: Batching = Batching()

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if (self.backend == "onnx") != (self.file is not None):
            raise ValueError('`file` names the .onnx file of backend "onnx", and only of that one')
        if self.queue == "dead":
            raise ValueError('`queue` cannot be "dead": that is where messages go that nobody can act on')
        if self.interpreter is not None and not Path(self.interpreter).is_absolute():
            raise ValueError("`interpreter` is the full path of a Python, such as /opt/tf/bin/python")
        if twice := (self.inputs.keys() & self.params.keys()) | (
            {"job"} & (self.inputs.keys() | self.params.keys())
        ):
            raise ValueError(
                f"{', '.join(sorted(twice))}: one name per input or param, and `job` is Leveret's own"
            )
        grace = self.options.get("cancel_grace_s", 0)
        if isinstance(grace, bool) or not isinstance(grace, int | float) or not 0 <= grace <= MAX_GRACE_S:
            raise ValueError(f"`options.cancel_grace_s` is a number of seconds from 0 to {MAX_GRACE_S}")
        return self


class Model(ModelTable):
    """One version of a model: what its model.toml says, where it lies, and the digests pinned for it."""

    folder: Path
    digests: dict[str, str] | None = None

    @property
    def ref(self) -> str:
        """The full reference, `name@version`."""
        return f"{self.name}@{self.version}"

    @property
    def cancel_grace_s(self) -> float | None:
        """Seconds that a canceled job has to end by itself; None where the model does not say."""
        grace = self.options.get("cancel_grace_s")
        return None if grace is None else float(grace)

    @property
    def path(self) -> Path | None:
        """The model's weights, for backends that have a file."""
        return None if self.file is None else self.folder / self.file

    def verify(self) -> None:
        """Compare every file of the folder with the catalog's index (reads them all; call off the loop).

        Raises:
            CatalogError: A file differs, is missing or is not in the index. Without an index nothing is
                checked.
        """
        if self.digests is None:
            return
        try:
            verify_folder(self.folder, self.digests)
        except IndexMismatchError as error:
            raise CatalogError(f"{self.ref}: {error}") from error

    def validate_inputs(self, given: Mapping[str, Given]) -> list[Problem]:
        """Check which inputs were given, and what is known of them; returns every problem found."""
        problems = [
            (f"inputs.{name}", _unknown("input", name, self.inputs))
            for name in given
            if name not in self.inputs
        ]
        for name, wanted in self.inputs.items():
            if name not in given:
                complaint = "is required" if wanted.required else None
            else:
                complaint = wanted.problem(given[name])
            if complaint:
                problems.append((f"inputs.{name}", complaint))
        return problems

    def validate_params(self, params: Mapping[str, Any]) -> list[Problem]:
        """Check the parameters against their declarations; returns every problem found."""
        problems = [
            (f"params.{name}", _unknown("param", name, self.params))
            for name in params
            if name not in self.params
        ]
        for name, wanted in self.params.items():
            if name in params:
                complaint = wanted.problem(params[name])
            else:
                complaint = "is required" if wanted.required else None
            if complaint:
                problems.append((f"params.{name}", complaint))
        return problems

    def fill_params(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters with the declared defaults filled in."""
        defaults = {
            name: wanted.default for name, wanted in self.params.items() if wanted.default is not None
        }
        return defaults | dict(params)

    def schema(self) -> dict[str, Any]:  # type: ignore[override]  # pydantic's own `schema` is deprecated
        """What a client may know: inputs, outputs, and the params as JSON Schema."""
        public = self.model_dump(
            include={"name", "version", "description", "queue", "timeout_s", "max_attempts"}
        )
        return public | {
            "inputs": {name: wanted.model_dump() for name, wanted in self.inputs.items()},
            "outputs": {name: made.model_dump() for name, made in self.outputs.items()},
            "params": {
                "type": "object",
                "properties": {name: wanted.json_schema() for name, wanted in self.params.items()},
                "required": [name for name, wanted in self.params.items() if wanted.required],
                "additionalProperties": False,
            },
        }


def _unknown(what: str, name: str, known: Mapping[str, object]) -> str:
    return f"is no {what} of this model{suggest(name, known)}"


def suggest(wrong: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: the closest known one, or all of them."""
    names = list(known)
    close = difflib.get_close_matches(wrong, names, n=1)
    return f"; did you mean `{close[0]}`?" if close else f"; known here: {', '.join(names) or 'none'}"
