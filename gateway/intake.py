"""Reads bodies off the wire: a submit is JSON, or multipart with files. No model or store is asked here."""

from __future__ import annotations

import asyncio
import hashlib
import re
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

import msgspec
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from gateway.problems import path_of
from gateway.refusals import InvalidRequest, Malformed, TooLarge, UnsupportedMedia
from gateway.schemas import (
    MAX_JSON_BYTES,
    MAX_METADATA_BYTES,
    MAX_NAMES,
    MEDIA_TYPE,
    Options,
    Submission,
    unstorable,
)
from shared.errors import InvalidJob

OCTETS = "application/octet-stream"
IN_MEMORY_BYTES = 1024 * 1024
"""A larger file is on the disk from its first byte on."""

_TYPE = re.compile(MEDIA_TYPE)
S = TypeVar("S", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class File:
    """A file that came with a submit.

    Attributes:
        content: Its bytes, or the file they are in, which lasts as long as the request.
        size: Bytes.
        digest: SHA-256.
        content_type: As the caller said it.
    """

    content: bytes | Path
    size: int
    digest: bytes
    content_type: str


@dataclass(frozen=True, slots=True)
class Intake:
    """A submit as it was sent, its form checked."""

    submission: Submission
    files: Mapping[str, File]

    def digest(self) -> bytes:
        """SHA-256 of the request in a canonical form: equal for a repeat, however it was spelled."""
        said = self.submission.model_dump(mode="json", by_alias=True, exclude_unset=True)
        files = {name: [file.digest.hex(), file.content_type] for name, file in sorted(self.files.items())}
        return hashlib.sha256(msgspec.json.encode([said, files], order="sorted")).digest()


@asynccontextmanager
async def reading(request: Request) -> AsyncIterator[Intake]:
    """Read a submit; its files last until the context ends.

    Raises:
        UnsupportedMedia: It is neither JSON nor multipart.
        Malformed: It is not what it says it is.
        TooLarge: There is too much of it.
        InvalidJob: A field is unknown, missing or wrong.
    """
    async with AsyncExitStack() as files:
        match _media_type(request):
            case "application/json":
                yield Intake(parse(Submission, await small_body(request)), {})
            case "multipart/form-data":
                yield await _read_form(request, files)
            case _:
                raise UnsupportedMedia("send application/json or multipart/form-data")


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def small_body(request: Request) -> bytes:
    """A JSON body, whole."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_JSON_BYTES:
            raise TooLarge(f"at most {MAX_JSON_BYTES} bytes of JSON are accepted; send bytes as files")
    return bytes(body)


async def read_body(request: Request, kind: type[S], *, empty: bytes = b"") -> S:
    """What a request that is no submit says.

    Args:
        request: Its body is JSON.
        kind: How that is read.
        empty: Stands for no body at all.

    Raises:
        Malformed: It is no JSON.
        TooLarge: It is above the limit.
        InvalidRequest: It does not fit.
    """
    try:
        return parse(kind, await small_body(request) or empty)
    except InvalidJob as error:
        raise InvalidRequest(error.problems) from None


def parse(kind: type[S], body: bytes | str) -> S:
    """A JSON text as one of the schemas.

    Raises:
        Malformed: It is no JSON.
        InvalidJob: It does not fit.
    """
    try:
        said = kind.model_validate_json(body)
    except ValidationError as error:
        entries = error.errors(include_url=False, include_context=False, include_input=False)
        if entries[0]["type"] == "json_invalid":
            raise Malformed(entries[0]["msg"]) from None
        raise InvalidJob([_problem(entry["loc"], entry["msg"]) for entry in entries]) from None
    _check_storable(said)
    return said


def first_problem(error: ValidationError) -> tuple[str, str]:
    """The first field that does not fit, for where there is room for one."""
    entry = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return _problem(entry["loc"], entry["msg"])


def _problem(location: tuple[int | str, ...], message: str) -> tuple[str, str]:
    return path_of(location) or "body", message.removeprefix("Value error, ")


def _check_storable(said: BaseModel) -> None:
    dumped = said.model_dump(by_alias=True, exclude_unset=True)
    problems = list(unstorable(dumped))
    if not problems and len(msgspec.json.encode(dumped.get("metadata", {}))) > MAX_METADATA_BYTES:
        problems.append(("metadata", f"has more than {MAX_METADATA_BYTES} bytes as JSON"))
    if problems:
        raise InvalidJob(problems)


async def _read_form(request: Request, files: AsyncExitStack) -> Intake:
    form = await _form(request)
    files.push_async_callback(form.close)
    options = parse(Options, _one_text(form, "options", "{}"))
    submission = _with_model(options, _one_text(form, "model", ""))
    uploads = {name: value for name, value in form.multi_items() if isinstance(value, UploadFile)}
    _check_names(form, uploads, submission)
    kept = {name: await _keep(upload, files) for name, upload in uploads.items()}
    return Intake(submission, kept)


async def _form(request: Request) -> FormData:
    try:
        return await request.form(max_files=MAX_NAMES, max_fields=MAX_NAMES, max_part_size=MAX_JSON_BYTES)
    except HTTPException as error:
        raise Malformed(str(error.detail)) from None


def _one_text(form: FormData, name: str, otherwise: str) -> str:
    values = form.getlist(name)
    if len(values) > 1 or any(not isinstance(value, str) for value in values):
        raise InvalidJob([(name, "send it once, as a text field")])
    return str(values[0]) if values else otherwise


def _with_model(options: Options, model: str) -> Submission:
    said = {name: getattr(options, name) for name in options.model_fields_set}
    try:
        submission = Submission.model_validate({**said, "model": model})
    except ValidationError as error:
        raise InvalidJob([("model", entry["msg"]) for entry in error.errors()]) from None
    _check_storable(submission)
    return submission


def _check_names(form: FormData, uploads: Mapping[str, UploadFile], submission: Submission) -> None:
    known = uploads.keys() | {"model", "options"}
    problems = [
        (name, "is no field of this form: all but files goes into `options`")
        for name in form
        if name not in known
    ]
    problems += [
        (f"inputs.{name}", "is given twice")
        for name in uploads
        if len(form.getlist(name)) > 1 or name in submission.inputs
    ]
    if problems:
        raise InvalidJob(problems)


async def _keep(upload: UploadFile, files: AsyncExitStack) -> File:
    """The uploaded bytes: small ones in memory, others in a file with a name, which S3's client needs."""
    content_type = upload.content_type or OCTETS
    content_type = content_type if _TYPE.fullmatch(content_type) else OCTETS
    size = upload.size or 0
    if size <= IN_MEMORY_BYTES:
        body = await upload.read()
        return File(body, size, hashlib.sha256(body).digest(), content_type)
    named = tempfile.NamedTemporaryFile(prefix="leveret-upload-")  # noqa: SIM115  the stack closes it
    target = files.enter_context(named)
    digest = await asyncio.to_thread(_copy, upload.file, target)
    return File(Path(target.name), size, digest, content_type)


def _copy(source: IO[bytes], target: IO[bytes]) -> bytes:
    digest = hashlib.sha256()
    while piece := source.read(IN_MEMORY_BYTES):
        digest.update(piece)
        target.write(piece)
    target.flush()
    return digest.digest()
