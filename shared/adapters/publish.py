"""`python -m shared.adapters.publish DIR s3://bucket/prefix`: put a catalog, or one model, into a bucket.

    1. everything is checked as `python -m shared.catalog check` does; nothing is sent if a mistake is found
    2. files go to `prefix/name@version/…`: a place of its own for each version, so none is ever overwritten
    3. the index is written last; until then no reader sees anything of it

Versions that are in the bucket stay there, side by side; `--withdraw name@version` takes one out of the
index. One publisher at a time. The store is the one of LEVERET_S3_…. Exit codes: 0 done, 1 refused, 2 usage.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

from shared.adapters.blobs import Blobs, open_blobs
from shared.adapters.catalogs import SCHEME, read_index
from shared.catalog import INDEX_FILE, MODEL_FILE, CatalogError, Model, check_catalog
from shared.catalog.index import Digests, IndexMismatchError, digests_of, index_text, parse_index
from shared.errors import LeveretError, Misconfigured
from shared.settings import ProcessSettings, read_settings

OCTETS = "application/octet-stream"


def main(arguments: list[str]) -> int:
    """Publish or withdraw; returns the exit code."""
    chosen = _parser().parse_args(arguments)
    if not chosen.to.startswith(SCHEME) or (chosen.folder is None) == (chosen.withdraw is None):
        _parser().print_usage(sys.stderr)
        return 2
    try:
        said = asyncio.run(_act(chosen, read_settings(ProcessSettings)))
    except LeveretError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2 if isinstance(error, Misconfigured) and not isinstance(error, CatalogError) else 1
    sys.stdout.write(f"{said}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m shared.adapters.publish")
    parser.add_argument("folder", nargs="?", type=Path, metavar="DIR", help="a catalog or a model's folder")
    parser.add_argument("to", metavar="s3://bucket/prefix")
    parser.add_argument("--withdraw", metavar="NAME@VERSION", help="take this version out of the index")
    return parser


async def _act(chosen: argparse.Namespace, settings: ProcessSettings) -> str:
    root = chosen.to.rstrip("/")
    async with open_blobs(settings.s3) as blobs:
        if chosen.withdraw is not None:
            return await withdraw(blobs, root, chosen.withdraw)
        return await publish(blobs, root, chosen.folder)


async def publish(blobs: Blobs, root: str, folder: Path) -> str:
    """Put models into the bucket; says what was done.

    Raises:
        CatalogError: A model is wrong, or a version is there already with other files.
        StoreError: The store did not take it; the catalog there is as it was.
    """
    report = await asyncio.to_thread(check_catalog, folder)
    if not report.ok:
        raise CatalogError(*(each for each in report.mistakes if each.fatal))
    index = await _index(blobs, root)
    there = await _versions(blobs, root, index)
    new = []
    for model in report.models:
        digests = await asyncio.to_thread(_published_files, model.folder)
        if _is_new(model, digests, index, there):
            await _send(blobs, root, model, digests)
            index[model.ref] = digests
            new.append(model.ref)
    if new:
        await _write_index(blobs, root, index)
    return f"{root}: published {', '.join(new) or 'nothing new'}"


async def withdraw(blobs: Blobs, root: str, ref: str) -> str:
    """Take a version out of the index. Its files stay: somebody may be reading them.

    Raises:
        CatalogError: There is none.
        StoreError: The store did not take it.
    """
    index = await _index(blobs, root)
    there = await _versions(blobs, root, index)
    if ref not in there:
        raise CatalogError(f"{root}: there is no {ref}; there are {', '.join(sorted(there)) or 'none'}")
    del index[there[ref]]
    await _write_index(blobs, root, index)
    return f"{root}: withdrew {ref}; its files are still in {root}/{there[ref]}/"


async def _index(blobs: Blobs, root: str) -> dict[str, Digests]:
    if await blobs.head(f"{root}/{INDEX_FILE}") is None:
        return {}
    try:
        return parse_index(await read_index(blobs, root), f"{root}/{INDEX_FILE}")
    except IndexMismatchError as error:
        raise CatalogError(str(error)) from error


async def _versions(blobs: Blobs, root: str, index: Mapping[str, Digests]) -> dict[str, str]:
    """By `name@version` the folder that holds it: whoever copied a catalog there may have left `@…` out."""
    return {
        name if "@" in name else f"{name}@{await _version(blobs, f'{root}/{name}/{MODEL_FILE}')}": name
        for name in index
    }


async def _version(blobs: Blobs, uri: str) -> str:
    content = b"".join([piece async for piece in blobs.stream(uri)])
    try:
        return str(tomllib.loads(content.decode()).get("version", "1"))
    except ValueError as error:
        raise CatalogError(f"{uri}: not readable as TOML: {error}") from error


def _published_files(folder: Path) -> Digests:
    return {
        name: digest for name, digest in digests_of(folder).items() if "__pycache__" not in name.split("/")
    }


def _is_new(model: Model, digests: Digests, index: Mapping[str, Digests], there: Mapping[str, str]) -> bool:
    if model.ref not in there:
        return True
    if index[there[model.ref]] != digests:
        text = f"{model.ref} is published with other files, and a version never changes"
        raise CatalogError(f"{model.folder / MODEL_FILE}: version: {text}; raise `version`")
    return False


async def _send(blobs: Blobs, root: str, model: Model, digests: Digests) -> None:
    for name in digests:
        await blobs.put_file(f"{root}/{model.ref}/{name}", model.folder / name, OCTETS)


async def _write_index(blobs: Blobs, root: str, index: Mapping[str, Digests]) -> None:
    await blobs.put_bytes(f"{root}/{INDEX_FILE}", index_text(index).encode(), "application/json")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
