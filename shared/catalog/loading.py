"""Reading a catalog from a folder, with an answer to every mistake that says where it is and what to do."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from shared.catalog.index import INDEX_FILE, IndexMismatchError, read_index
from shared.catalog.model import (
    Batching,
    CatalogError,
    Input,
    Mistake,
    Model,
    ModelTable,
    Output,
    Param,
    suggest,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from shared.catalog.index import Digests

MODEL_FILE = "model.toml"


@dataclass(frozen=True, slots=True)
class Catalog:
    """All models, by name and version."""

    models: tuple[Model, ...] = ()
    _newest: Mapping[str, Model] = field(init=False, repr=False)
    _exact: Mapping[str, Model] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        ordered = sorted(self.models, key=lambda model: _version_order(model.version))
        object.__setattr__(self, "_newest", {model.name: model for model in ordered})
        object.__setattr__(self, "_exact", {model.ref: model for model in ordered})

    def find(self, ref: str) -> Model | None:
        """The model of `name@version`, or the newest version of `name`; None when there is none."""
        return self._exact.get(ref) or self._newest.get(ref)

    @property
    def queues(self) -> tuple[str, ...]:
        """Every queue a model names, sorted."""
        return tuple(sorted({model.queue for model in self.models}))


def load_catalog(path: Path | str) -> Catalog:
    """Read every model folder directly under `path`.

    Folders that the catalog's index does not name are not pinned: an author can add one beside pinned models.

    Raises:
        CatalogError: The folder is missing, or a model in it is wrong; all mistakes of one file are listed.
    """
    root = Path(path)
    if not root.is_dir():
        raise CatalogError(f"{root}: no such folder; set LEVERET_CATALOG_PATH to the folder of model folders")
    index = index_of(root)
    folders = list(model_folders(root))
    models = [load_model(folder, index.get(folder.name)) for folder in folders]
    return catalog_of(models, [folder.name for folder in folders])


def catalog_of(models: Iterable[Model], names: Iterable[str] | None = None) -> Catalog:
    """These models as one catalog.

    Args:
        models: In any order.
        names: What each one's folder is called there, where that may be a link.

    Raises:
        CatalogError: A folder has a name that is not its model's, or a version exists twice.
    """
    found = tuple(models)
    called = [model.folder.name for model in found] if names is None else names
    if mistakes := list(place_mistakes(zip(called, found, strict=True))):
        raise CatalogError(*mistakes)
    return Catalog(found)


def load_model(folder: Path | str, digests: Digests | None = None, *, whole: bool = True) -> Model:
    """Read one model folder.

    Args:
        folder: With the model.toml.
        digests: What the catalog's index pins for it.
        whole: False where only the model.toml was brought here: its file is then looked for in the index.

    Raises:
        CatalogError: Its model.toml is missing or wrong; the text lists every mistake by file and key.
    """
    model = read_model(folder, digests)
    if mistakes := list(file_mistakes(model, whole=whole)):
        raise CatalogError(*mistakes)
    return model


def read_model(folder: Path | str, digests: Digests | None = None) -> Model:
    """Read a model.toml, whatever else is in its folder. Raises CatalogError as `load_model` does."""
    folder = Path(folder).resolve()
    source = folder / MODEL_FILE
    table = _read_toml(source)
    try:
        ModelTable.model_validate(table)  # first without ours, so that a file can't set them
    except ValidationError as error:
        raise CatalogError(*(Mistake(str(source), text, key) for key, text in _explain(error))) from error
    return Model.model_validate(table | {"folder": folder, "digests": digests})


def file_mistakes(model: Model, *, whole: bool = True) -> Iterator[Mistake]:
    """What is wrong with the file that a model names."""
    if complaint := _file_complaint(model) if whole else _file_unlisted(model):
        yield Mistake(str(model.folder / MODEL_FILE), complaint, "file")


def model_folders(root: Path) -> Iterator[Path]:
    """The folders directly under `root` that hold a model."""
    return (entry.parent for entry in sorted(root.glob(f"*/{MODEL_FILE}")))


def index_of(root: Path) -> dict[str, Digests]:
    """The catalog's index.

    Raises:
        CatalogError: It can't be understood.
    """
    try:
        return read_index(root)
    except IndexMismatchError as error:
        raise CatalogError(Mistake(str(root / INDEX_FILE), str(error).partition(": ")[2])) from error


def place_mistakes(models: Iterable[tuple[str, Model]]) -> Iterator[Mistake]:
    """What is wrong with where models lie, by their folders' names in the catalog: those of links, say."""
    seen: set[str] = set()
    for name, model in models:
        if name not in {model.name, model.ref}:
            linked = f" (it is linked as {name!r})" if name != model.folder.name else ""
            text = f"holds {model.ref}; name the folder `{model.name}` or `{model.ref}`{linked}"
            yield Mistake(str(model.folder), text)
        if model.ref in seen:
            text = f"{model.ref} exists twice; raise `version` in one of them"
            yield Mistake(str(model.folder / MODEL_FILE), text, "version")
        seen.add(model.ref)


def _file_complaint(model: Model) -> str | None:
    if model.path is None:
        return None
    if not model.path.resolve().is_relative_to(model.folder):
        return f"{model.file!r} lies outside the model's folder; put a copy inside"
    if not model.path.is_file():
        return f"there is no {model.file!r} in this folder; put it there"
    return None


def _file_unlisted(model: Model) -> str | None:
    if model.file is None or model.file in (model.digests or {}):
        return None
    return f"there is no {model.file!r} in the catalog's index; put it into the folder and publish again"


def _read_toml(source: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(source.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CatalogError(Mistake(str(source), f"missing; a model folder holds a {MODEL_FILE}")) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CatalogError(Mistake(str(source), f"not readable as TOML: {error}")) from error


def _explain(error: ValidationError) -> Iterator[tuple[str, str]]:
    for entry in error.errors(include_url=False, include_context=False):
        steps = [str(step) for step in entry["loc"] if step != "[key]"]
        where = ".".join(steps) or "the whole file"
        if entry["type"] == "extra_forbidden":
            yield where, f"unknown key{suggest(steps[-1], _keys_at(steps))}"
        elif entry["type"] == "string_pattern_mismatch":
            yield where, f"not an allowed form; {_FORMS}"
        else:
            yield where, entry["msg"].removeprefix("Value error, ")


_FORMS = (
    "names are lower-case letters, digits, - and _ (inputs, outputs, params: a letter first, no -), "
    'a handler is "module:function", a content type is "image/png" or "image/*"'
)
_TABLES: dict[str, type[BaseModel]] = {
    "inputs": Input,
    "outputs": Output,
    "params": Param,
    "batching": Batching,
}


def _keys_at(steps: list[str]) -> list[str]:
    table = _TABLES.get(steps[0], ModelTable) if len(steps) > 1 else ModelTable
    return list(table.model_fields)


def _version_order(version: str) -> tuple[tuple[int, int, str], ...]:
    """Numbers by value and words before their absence, so that 9 < 10rc1 < 10 < 10.1."""
    parts = re.findall(r"\d+|[A-Za-z]+", version)
    order = tuple((0, int(part), "") if part.isdigit() else (-1, 0, part) for part in parts)
    return (*order, (0, -1, ""))
