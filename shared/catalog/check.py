"""Everything that is wrong with a catalog or a model's folder, as far as that shows without running it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from shared.catalog.code import code_mistakes
from shared.catalog.index import INDEX_FILE, LEADS_OUT, Digests, differences, links_out
from shared.catalog.loading import (
    MODEL_FILE,
    file_mistakes,
    index_of,
    model_folders,
    place_mistakes,
    read_model,
)
from shared.catalog.model import CatalogError, Mistake, Model


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found.

    Attributes:
        models: Those whose model.toml can be read.
        mistakes: In the order of the folders.
    """

    models: tuple[Model, ...]
    mistakes: tuple[Mistake, ...]

    @property
    def ok(self) -> bool:
        """Whether the gateway and a worker would take it."""
        return not any(mistake.fatal for mistake in self.mistakes)


def check_catalog(path: Path) -> Report:
    """Look at one model's folder, or at a folder of them (reads every pinned file).

    Raises:
        CatalogError: There is no such folder.
    """
    if not path.is_dir():
        raise CatalogError(Mistake(str(path), "no such folder; name a model's folder or a catalog"))
    root = path.absolute() if path.is_symlink() else path.resolve()
    if (root / MODEL_FILE).exists():
        return _report(root.parent, [root], {})
    return _report(root, list(model_folders(root)), None)


def _report(root: Path, folders: list[Path], names: Mapping[str, Digests] | None) -> Report:
    """`names`: of the index, those to be missed; None for all."""
    mistakes: list[Mistake] = []
    index: dict[str, Digests] = {}
    try:
        index = index_of(root)
    except CatalogError as error:
        mistakes += error.mistakes
    models: list[Model] = []
    called: list[str] = []
    for folder in folders:
        mistakes += _check_folder(folder, index.get(folder.name), models)
        called += [folder.name] * (len(models) - len(called))
    mistakes += place_mistakes(zip(called, models, strict=True))
    mistakes += _lost(root) if names is None else ()
    mistakes += _absent(root, folders, index if names is None else names)
    return Report(tuple(models), tuple(mistakes))


def _check_folder(folder: Path, digests: Digests | None, models: list[Model]) -> Iterator[Mistake]:
    if digests is not None:
        yield from _unpinned(folder, digests)
    try:
        model = read_model(folder, digests)
    except CatalogError as error:
        yield from error.mistakes
        return
    models.append(model)
    yield from file_mistakes(model)
    yield from _empty(model)
    yield from _links(model)
    yield from code_mistakes(model)
    yield from _interpreter(model)


def _empty(model: Model) -> Iterator[Mistake]:
    if model.path is not None and model.path.is_file() and not model.path.stat().st_size:
        yield Mistake(str(model.path), "empty; an ONNX graph was expected")


def _links(model: Model) -> Iterator[Mistake]:
    for name in links_out(model.folder) if model.digests is None else ():
        yield Mistake(str(model.folder / name), LEADS_OUT)


def _unpinned(folder: Path, digests: Digests) -> Iterator[Mistake]:
    remedy = f"restore it, or pin it as it is now: python -m shared.catalog {folder.parent}"
    for name, complaint in differences(folder, digests):
        yield Mistake(str(folder.resolve() / name), f"{complaint}; {remedy}")


def _interpreter(model: Model) -> Iterator[Mistake]:
    if model.interpreter is not None and not os.access(model.interpreter, os.X_OK):
        text = f"there is no program {model.interpreter} on this machine; the worker's needs it"
        yield Mistake(str(model.folder / MODEL_FILE), text, "interpreter", fatal=False)


def _lost(root: Path) -> Iterator[Mistake]:
    """Links of which nothing else would tell: a catalog without them looks well."""
    for entry in sorted(root.iterdir()):
        if entry.is_symlink() and not entry.exists():
            yield Mistake(str(entry), f"a link to {entry.readlink()}, which is not there")


def _absent(root: Path, folders: list[Path], index: Mapping[str, Digests]) -> Iterator[Mistake]:
    here = {folder.name for folder in folders}
    if not here and not index:
        yield Mistake(str(root), f"no folder in it holds a {MODEL_FILE}; start one: leveret models new NAME")
    for name in sorted(index.keys() - here):
        text = f"pins {name!r}, which is no model's folder here; pin it anew: python -m shared.catalog {root}"
        yield Mistake(str(root / INDEX_FILE), text)
