"""An attempt's bytes: inputs into its scratch folder, outputs out of it."""

from __future__ import annotations

import asyncio
import mimetypes
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gpu_worker.engine.calls import Inline, OutputFile
from gpu_worker.ports import Objects
from shared.catalog import Model
from shared.jobs import Claim


@asynccontextmanager
async def scratch_folder(root: Path) -> AsyncIterator[Path]:
    """A folder for one attempt, with ``in`` and ``out``; gone afterwards with all that was left in it."""
    folder = await asyncio.to_thread(_make, root)
    try:
        yield folder
    finally:
        # Off the loop: an algorithm may have left a hundred thousand files, and leases must be renewed.
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _make(root: Path) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="attempt-", dir=root))
    (folder / "in").mkdir()
    (folder / "out").mkdir()
    return folder


async def fetch_inputs(
    objects: Objects, claim: Claim, model: Model, folder: Path
) -> dict[str, Path | Inline]:
    """Bring the job's inputs into `folder`.

    Raises:
        InputUnavailable: One is not there, or may not be read.
        BadInput: One is longer than the model takes.
        StoreError: S3 did not send all of it.
    """
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
