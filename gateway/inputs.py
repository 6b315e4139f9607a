"""Turns what a submit says of its inputs into what the job's row keeps: addresses of bytes, and JSON values.

First everything is checked against the model, then bytes go to the object store, so that a refused submit
leaves nothing behind.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from gateway.addresses import NOT_ALLOWED, input_refusal, names_bucket, refusal
from gateway.intake import OCTETS, File, Intake
from gateway.ports import Caller, Objects
from gateway.schemas import MAX_DATA_BYTES, GivenInput
from shared.catalog import Given, Model, Problem
from shared.errors import InvalidJob
from shared.webaddress import Network

Placed = dict[str, dict[str, Any]]


class Inputs:
    """Checks inputs and puts their bytes where a worker finds them.

    Args:
        objects: The object store.
        bucket: Leveret's own bucket, which no caller may name.
        networks: From which the operator lets jobs read though they are not public.
    """

    def __init__(self, objects: Objects, bucket: str, networks: Sequence[Network] = ()) -> None:
        self._objects = objects
        self._bucket = bucket
        self._networks = networks

    async def place(self, caller: Caller, model: Model, intake: Intake) -> Placed:
        """The inputs as the row keeps them: ``{"uri": "s3://…"}``, or ``https://``, or ``{"json": value}``.

        Raises:
            InvalidJob: An input, a parameter or a destination does not fit; every problem is listed.
            StoreError: The object store did not answer.
        """
        problems = list(self._address_problems(caller, intake))
        files = dict(intake.files) | dict(_decoded(intake, problems))
        given = await self._given(caller, intake, files, problems)
        problems += model.validate_inputs(given)
        problems += model.validate_params(intake.submission.params)
        problems += _limit_problems(model, intake)
        if problems:
            raise InvalidJob(_first_of_each(problems))
        return {name: await self._placed(caller, intake, files, name) for name in given}

    def _address_problems(self, caller: Caller, intake: Intake) -> Iterator[Problem]:
        for name, said in intake.submission.inputs.items():
            if said.uri is not None:
                problem = input_refusal(said.uri, caller.s3_prefixes, self._networks)
                yield from self._problems(f"inputs.{name}.uri", said.uri, problem)
        for name, destination in intake.submission.outputs.items():
            problem = refusal(destination.uri, caller.s3_prefixes)
            yield from self._problems(f"outputs.{name}.uri", destination.uri, problem)

    def _problems(self, path: str, uri: str, problem: str | None) -> Iterator[Problem]:
        if problem := problem or (NOT_ALLOWED if names_bucket(uri, self._bucket) else None):
            yield path, problem

    async def _given(
        self, caller: Caller, intake: Intake, files: Mapping[str, File], problems: list[Problem]
    ) -> dict[str, Given]:
        given = {name: Given(content_type=file.content_type, size=file.size) for name, file in files.items()}
        for name, said in intake.submission.inputs.items():
            match said.source:
                case "json":
                    given[name] = Given(inline=True, value=said.value)
                case "upload_id":
                    given[name] = await self._uploaded(caller, name, said, problems)
                case _:
                    given.setdefault(name, Given())
        return given

    async def _uploaded(self, caller: Caller, name: str, said: GivenInput, problems: list[Problem]) -> Given:
        key = _upload_key(caller, said.upload_id or "")
        head = await self._objects.head(key) if key else None
        if head is None:
            problems.append((f"inputs.{name}.upload_id", "nothing was uploaded under this id"))
            return Given()
        return Given(content_type=head.content_type, size=head.size)

    async def _placed(
        self, caller: Caller, intake: Intake, files: Mapping[str, File], name: str
    ) -> dict[str, Any]:
        if name in files:
            return {"uri": await self._put(caller, files[name])}
        said = intake.submission.inputs[name]
        if said.source == "json":
            return {"json": said.value}
        return {"uri": said.uri or self._objects.uri(_upload_key(caller, said.upload_id or ""))}

    async def _put(self, caller: Caller, file: File) -> str:
        key = f"{caller.tenant}/uploads/{uuid7()}"
        if isinstance(file.content, bytes):
            await self._objects.put_bytes(key, file.content, file.content_type)
        else:
            await self._objects.put_file(key, file.content, file.content_type)
        return self._objects.uri(key)


def _upload_key(caller: Caller, upload_id: str) -> str:
    """Under the caller's own prefix, whatever the id says; empty for what is no id."""
    try:
        return f"{caller.tenant}/uploads/{UUID(upload_id)}"
    except ValueError:
        return ""


def _decoded(intake: Intake, problems: list[Problem]) -> Iterator[tuple[str, File]]:
    """The inputs given as base64, which from here on are files like any other."""
    for name, said in intake.submission.inputs.items():
        if said.data is not None:
            try:
                body = base64.b64decode(said.data, validate=True)
            except (binascii.Error, ValueError):
                problems.append((f"inputs.{name}.data", "is not base64"))
                continue
            if len(body) > MAX_DATA_BYTES:
                problems.append((f"inputs.{name}.data", f"has more than {MAX_DATA_BYTES} bytes"))
            yield name, File(body, len(body), b"", said.content_type or OCTETS)


def _limit_problems(model: Model, intake: Intake) -> Iterator[Problem]:
    said = intake.submission
    for name in said.outputs:
        if name not in model.outputs:
            yield f"outputs.{name}", f"is no output of this model; known here: {', '.join(model.outputs)}"
    if said.timeout_s is not None and said.timeout_s > model.timeout_s:
        yield "timeout_s", f"must be at most {model.timeout_s:g}, the model's own limit"


def _first_of_each(problems: list[Problem]) -> list[Problem]:
    """One problem per field, the most telling one, which was found first."""
    told: dict[str, str] = {}
    for path, message in problems:
        if not any(known == path or known.startswith(f"{path}.") for known in told):
            told[path] = message
    return list(told.items())
