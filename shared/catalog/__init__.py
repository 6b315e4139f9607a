"""The catalog: one folder per model with a `model.toml`, read into frozen models.

The gateway and the workers read the same folders, so what a model accepts is said once. Nothing here imports
a handler, an array library or a driver: a model's code is named, never loaded.
"""

from __future__ import annotations

from shared.catalog.check import check_catalog
from shared.catalog.index import INDEX_FILE, write_index
from shared.catalog.loading import MODEL_FILE, Catalog, load_catalog, load_model
from shared.catalog.model import CatalogError, Given, Input, Kind, Mistake, Model, Output, Param, Problem

__all__ = [
    "INDEX_FILE",
    "MODEL_FILE",
    "Catalog",
    "CatalogError",
    "Given",
    "Input",
    "Kind",
    "Mistake",
    "Model",
    "Output",
    "Param",
    "Problem",
    "check_catalog",
    "load_catalog",
    "load_model",
    "write_index",
]
