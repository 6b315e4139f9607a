"""An attempt's bytes: inputs into its scratch folder, outputs out of it."""

from __future__ import annotations

import asyncio
import mimetypes
import os
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gpu_worker.engine.calls import Inline, OutputFile
from gpu_worker.ports import Objects
from shared.catalog import Model
from shared.jobs import Claim


@asynccontextmanager
async def scratch_folder(root: Path, claim: Claim) -> AsyncIterator[Path]:
    """The place of one attempt's files: made by who first writes there, gone afterwards with all in it."""
    folder = root / f"{claim.id}-{claim.fence}"
    try:
        yield folder
    finally:
        if os.path.exists(folder):  # noqa: ASYNC240, PTH110  a hop into a thread costs fifty times as much
            # Off the loop: an algorithm may have left a hundred thousand files, and leases must be renewed.
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


async def fetch_inputs(
    objects: Objects, claim: Claim, model: Model, folder: Path
) -> dict[str, Path | Inline]:
    """Bring the job's inputs into `folder`.

    Raises:
        InputUnavailable: One is not there, or may not be read.
        BadInput: One is longer than the model takes.
        StoreError: S3 did not send all of it.
    """
    if any("uri" in given for given in claim.inputs.values()):
        folder.mkdir(parents=True)  # noqa: ASYNC240  less work than a hop into a thread
    return {
        name: await _fetch(objects, given, folder / name, max_bytes=_limit(model, name))
        for name, given in claim.inputs.items()
    }


def _limit(model: Model, name: str) -> int:
    return model.inputs[name].max_bytes


async def _fetch(objects: Objects, given: Mapping[str, Any], path: Path, *, max_bytes: int) -> Path | Inline:
    if "json" in given:
        return Inline(given["json"])
    await objects.fetch(given["uri"], path, max_bytes=max_bytes)
    return path


async def store_outputs(
    objects: Objects, claim: Claim, outputs: Mapping[str, OutputFile]
) -> dict[str, dict[str, Any]]:
    """Write the outputs where the job wants them; under the fence, so that a stale worker overwrites nothing.

    Returns:
        Per output ``{"uri", "content_type", "size", "sha256", "metadata"}``.

    Raises:
        StoreError: S3 did not take one.
    """
    return {name: await _store(objects, claim, name, output) for name, output in outputs.items()}


async def _store(objects: Objects, claim: Claim, name: str, output: OutputFile) -> dict[str, Any]:
    uri = claim.destinations.get(name) or objects.uri(_key(claim, name, output.content_type))
    if output.path is None:
        stored = await objects.put_bytes(uri, output.body, output.content_type)
    else:
        stored = await objects.put_file(uri, output.path, output.content_type)
    return {
        "uri": uri,
        "content_type": output.content_type,
        "size": stored.size,
        "sha256": stored.sha256,
        "metadata": output.metadata,
    }


def _key(claim: Claim, name: str, content_type: str) -> str:
    extension = mimetypes.guess_extension(content_type.partition(";")[0]) or ".bin"
    return f"{claim.tenant}/{claim.id}/{claim.fence}/{name}{extension}"
