"""Labels, on a graph that scores a picture by its mean red, green and blue."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from gpu_worker.engine.job import BadOutputError
from gpu_worker.engine.spec import SpecError
from gpu_worker.handlers.labels import Labels
from tests import onnx_graphs as graphs
from tests.unit.gpu_worker.handlers.loading import load

if TYPE_CHECKING:
    from pathlib import Path

GRAPH = graphs.mean_of_pixels(["n", 3, 8, 8])
PLAIN: dict[str, Any] = {"mean": [0.0], "std": [1.0]}
COLORS = ["red", "green", "blue"]
ORANGE = Image.new("RGB", (16, 8), (255, 102, 0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "labels.txt").write_text("\n".join(COLORS))
    (tmp_path / "labels.json").write_text(json.dumps(COLORS))
    return tmp_path


def labels_of(handler: Labels, image: Image.Image, **params: Any) -> Any:
    item = handler.prepare(image, **params)
    (raw,) = handler.infer([item])
    return handler.finish(item, raw)


def loaded(folder: Path, **options: Any) -> Labels:
    handler = load(Labels(), folder, GRAPH, {"found": "json"}, **PLAIN | options)
    handler.warm_up()
    return handler


@pytest.mark.parametrize("file", ["labels.txt", "labels.json"])
def test_the_surest_comes_first_by_its_name(folder: Path, file: str) -> None:
    found = labels_of(loaded(folder, labels=file), ORANGE)
    shares = np.exp([1, 0.4, 0]) / np.exp([1, 0.4, 0]).sum()
    assert [each["label"] for each in found] == COLORS
    assert [each["index"] for each in found] == [0, 1, 2]
    assert [each["score"] for each in found] == pytest.approx(shares, abs=1e-5)


@pytest.mark.parametrize(
    ("options", "params", "expected"),
    [
        ({"top": 1}, {}, [0]),
        ({"top": 1}, {"top": 2}, [0, 1]),
        ({"activation": "none", "threshold": 0.4}, {}, [0, 1]),
        ({"activation": "sigmoid", "threshold": 0.55}, {}, [0, 1]),
        ({"activation": "none", "threshold": 0.4}, {"top": 9}, [0, 1]),
    ],
)
def test_as_many_as_were_asked_for(
    tmp_path: Path, options: dict[str, Any], params: dict[str, Any], expected: list[int]
) -> None:
    found = labels_of(loaded(tmp_path, **options), ORANGE, **params)
    assert [each["index"] for each in found] == expected
    assert "label" not in found[0]


def test_the_middle_is_what_counts(tmp_path: Path) -> None:
    image = Image.new("RGB", (32, 8), "blue")
    image.paste("red", (12, 0, 20, 8))
    surest = {
        fit: labels_of(loaded(tmp_path, activation="none", top=1, fit=fit), image)[0]
        for fit in ("crop", "stretch")
    }
    assert surest["crop"] == {"index": 0, "score": 1.0}
    assert surest["stretch"]["index"] == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"labels": "none.txt"}, "there is no file 'none.txt' in the model's folder"),
        ({"labels": "../labels.txt"}, "there is no file"),
        ({"labels": "/etc/hostname"}, "there is no file"),
        ({"labels": "two.txt"}, r"two\.txt names 2 labels, the graph's output y float32\[\?, 3\] has 3"),
        ({"labels": "empty.txt"}, "must hold one label a line"),
        ({"labels": "numbers.json"}, "must hold one label a line"),
        ({"labels": "broken.json"}, "not readable as labels"),
        ({"lables": "labels.txt"}, r"did you mean 'labels'\?"),
        ({"top": 0}, "options.top: must be at least 1"),
        ({"fit": "pad"}, "must be one of crop, stretch"),
    ],
)
def test_what_does_not_fit_is_said_when_it_loads(folder: Path, options: dict[str, Any], said: str) -> None:
    for name, text in {"two.txt": "a\nb", "empty.txt": "", "numbers.json": "[1]", "broken.json": "["}.items():
        (folder / name).write_text(text)
    with pytest.raises(SpecError, match=said):
        loaded(folder, **options)


def test_a_graph_that_hides_its_count_is_asked_when_it_warms_up(folder: Path) -> None:
    graph = graphs.model(
        [graphs.node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=0)],
        {"x": ("float32", ["n", "c", 8, 8])},
        {"y": ("float32", ["n", "c"])},
    )
    (folder / "labels.txt").write_text("a\nb")
    handler = load(Labels(), folder, graph, {"labels": "json"}, labels="labels.txt")
    with pytest.raises(BadOutputError, match="has 3 scores for 2 labels"):
        handler.warm_up()
