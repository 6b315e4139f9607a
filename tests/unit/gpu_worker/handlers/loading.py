"""Loads a ready-made handler on a small graph, as the engine does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from gpu_worker.engine.handler import LoadContext
from gpu_worker.engine.onnx import OnnxSession
from gpu_worker.engine.spec import spec_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import pytest

    from gpu_worker.handlers.graph import GraphHandler
    from gpu_worker.handlers.tensors import Tensors


Handler = TypeVar("Handler", bound="GraphHandler | Tensors")


def load(handler: Handler, folder: Path, graph: bytes, outputs: dict[str, str], **options: Any) -> Handler:
    """`load_with` for an image."""
    return load_with(handler, folder, graph, inputs={"image": "image"}, outputs=outputs, options=options)


def load_with(
    handler: Handler,
    folder: Path,
    graph: bytes,
    *,
    inputs: dict[str, str],
    outputs: dict[str, str],
    options: dict[str, Any],
) -> Handler:
    """The handler, loaded from a folder that holds `graph`."""
    (folder / "m.onnx").write_bytes(graph)
    table = {
        "name": "m",
        "backend": "onnx",
        "handler": "m:f",
        "file": "m.onnx",
        "inputs": {name: {"kind": kind} for name, kind in inputs.items()},
        "outputs": {name: {"kind": kind} for name, kind in outputs.items()},
        "options": options,
    }
    session = OnnxSession(spec_of(table, folder), "cpu")
    handler.load(LoadContext(folder, options, "cpu", session, inputs, outputs))
    return handler


def named(outputs: Iterable[str], made: Any) -> dict[str, Any]:
    """What `finish` made by its names: one output alone comes without its own."""
    names = list(outputs)
    return {names[0]: made} if len(names) == 1 else made


def count_runs(session: OnnxSession, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches that it runs from here on."""
    runs: list[int] = []
    run = session.run

    def counted(feeds: dict[str, Any], outputs: list[str] | None = None) -> list[Any]:
        runs.append(len(next(iter(feeds.values()))))
        return run(feeds, outputs)

    monkeypatch.setattr(session, "run", counted)
    return runs
