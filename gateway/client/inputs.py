"""Turns the values of a submit into a request: which are inputs, which are params, which must be uploaded.

The rules, in order, for `submit(model, name=value)`:

1. `Upload`, `pathlib.Path`, `bytes` and binary files are uploaded as the input `name`.
2. Any other value for a name that the model lists as an input is that input. A `str` with a scheme (`s3://`,
   `https://`) is a reference; a `str` for an image, audio or bytes input is the path of a file to upload; a
   `str` for a text or json input is the text itself, never a path; a dict in the API's own words, such as
   `{"upload_id": …}`, is passed on, but for a json input it is the value; other values are inline JSON.
3. Everything else is a parameter, as it stands.

`inputs=` and `params=` say it outright; then the model is looked up only for a bare string among the inputs.
"""

from __future__ import annotations

import json
import mimetypes
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from gateway.client.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import ExitStack

REFERENCE_SCHEMES = ("s3://", "https://", "http://")
_SPELLED_OUT = ({"uri"}, {"upload_id"}, {"data"}, {"json"}, {"data", "content_type"})
_TEXT_KINDS = frozenset({"text", "json"})
_OCTETS = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Upload:
    """Bytes to send as an input, with a say in their name and type.

    Attributes:
        content: The bytes, the path of a file that holds them, or a file open for binary reading.
        filename: The name the gateway is told; the file's own when empty.
        content_type: The media type; guessed from the name when empty.
    """

    content: bytes | Path | IO[bytes]
    filename: str = ""
    content_type: str = ""

    def open(self, stack: ExitStack) -> tuple[str, IO[bytes], str]:
        """Name, rewindable file and media type; files opened here are closed by `stack`.

        Raises:
            InputError: The file cannot be read, or is open in text mode.
        """
        name = self.filename or Path(str(getattr(self.content, "name", self.content_name()))).name
        media = self.content_type or mimetypes.guess_type(name)[0] or _OCTETS
        return name, self._readable(stack), media

    def content_name(self) -> str:
        """A file name for content that has none."""
        return str(self.content) if isinstance(self.content, Path) else "upload"

    def _readable(self, stack: ExitStack) -> IO[bytes]:
        if isinstance(self.content, Path):
            try:
                return stack.enter_context(self.content.open("rb"))
            except OSError as error:
                raise InputError(f"cannot read {self.content}: {error.strerror}") from error
        if isinstance(self.content, bytes):
            return BytesIO(self.content)
        return _rewindable(self.content)


def _rewindable(file: IO[bytes]) -> IO[bytes]:
    """The rest of a binary file as one that can be read again when a try is lost."""
    # Read from here on, not from the start: that is what handing over an open file means everywhere else.
    content = file.read()
    if not isinstance(content, bytes):
        raise InputError("a file given as an input must be opened in binary mode: open(path, 'rb')")
    return BytesIO(content)


def as_upload(value: object) -> Upload | None:
    """The value as an upload, if its type alone says that it is one."""
    if isinstance(value, Upload):
        return value
    if isinstance(value, bytearray | memoryview):
        return Upload(bytes(value))
    if isinstance(value, bytes | Path):
        return Upload(value)
    return Upload(value) if hasattr(value, "read") else None  # type: ignore[arg-type]  # duck-typed file


def needs_schema(values: Mapping[str, Any], inputs: Mapping[str, Any] | None = None) -> bool:
    """Whether the model's schema must be known to tell these values apart."""
    bare = [text for text in (inputs or {}).values() if isinstance(text, str)]
    return any(as_upload(value) is None for value in values.values()) or any(
        not text.startswith(REFERENCE_SCHEMES) for text in bare
    )


@dataclass(frozen=True, slots=True)
class Sorted:
    """The values of one submit, told apart.

    Attributes:
        uploads: Files to send with the request, by input.
        inputs: Inputs as the API words them, by name.
        params: Parameters by name.
    """

    uploads: Mapping[str, Upload]
    inputs: Mapping[str, Any]
    params: Mapping[str, Any]


def sort_values(
    model: str,
    declared: Mapping[str, Any],
    values: Mapping[str, Any],
    *,
    inputs: Mapping[str, Any] | None = None,
    params: Mapping[str, Any] | None = None,
) -> Sorted:
    """Tell inputs from params by the rules above.

    Args:
        model: The model's name, for errors.
        declared: What the model says of its inputs, by name: `{"image": {"kind": "image"}}`.
        values: The keyword values.
        inputs: Values that are inputs whatever their name.
        params: Values that are params whatever their name.

    Raises:
        InputError: A named file is not there.
    """
    said = {
        name: _as_value(_kind(declared, name), value)
        for name, value in values.items()
        if name in declared or as_upload(value)
    } | dict(inputs or {})
    spelled = {name: _spell(model, name, _kind(declared, name), value) for name, value in said.items()}
    left = {name: value for name, value in values.items() if name not in said}
    return Sorted(
        uploads={name: value for name, value in spelled.items() if isinstance(value, Upload)},
        inputs={name: value for name, value in spelled.items() if not isinstance(value, Upload)},
        params={**(params or {}), **left},
    )


def _kind(declared: Mapping[str, Any], name: str) -> str:
    # A name the model does not know goes inline: the gateway's answer suggests the right one.
    return str(declared.get(name, {}).get("kind", "json"))


def _as_value(kind: str, value: Any) -> Any:
    """A dict for a json input is the value, even where it looks like the API's own words."""
    return {"json": value} if kind == "json" and isinstance(value, dict) else value


def _spell(model: str, name: str, kind: str, value: Any) -> Upload | dict[str, Any]:
    """An input in the API's words, or the file to upload for it."""
    if upload := as_upload(value):
        return upload
    if isinstance(value, dict) and set(value) in _SPELLED_OUT:
        return value
    if not isinstance(value, str):
        return {"json": value}
    if value.startswith(REFERENCE_SCHEMES):
        return {"uri": value}
    if kind in _TEXT_KINDS:
        return {"json": value}
    if not Path(value).is_file():
        raise InputError(f"input {name!r} of {model} is a file, and there is none at {value!r}")
    return Upload(Path(value))


@dataclass(frozen=True, slots=True)
class Body:
    """A request's body as httpx2 takes it, and the headers that go with it."""

    arguments: Mapping[str, Any]
    headers: Mapping[str, str]


def encode(model: str, values: Sorted, options: Mapping[str, Any], stack: ExitStack) -> Body:
    """Multipart with files, JSON without. Files are opened here and closed by `stack`; call it off the loop.

    Raises:
        InputError: A file cannot be read, or a value is no JSON.
    """
    said = {"inputs": values.inputs, "params": values.params, **options}
    said = {name: value for name, value in said.items() if value not in ({}, None)}
    if not values.uploads:
        return Body({"content": _dump({"model": model, **said})}, {"Content-Type": "application/json"})
    files = {name: upload.open(stack) for name, upload in values.uploads.items()}
    return Body({"data": {"model": model, "options": _dump(said)}, "files": files}, {})


def _dump(document: Mapping[str, Any]) -> str:
    try:
        return json.dumps(document, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"a value cannot be written as JSON: {error}") from error
