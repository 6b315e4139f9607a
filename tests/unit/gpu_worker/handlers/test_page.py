"""docs/models.md held against the code: every option that is read stands there, and no other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gpu_worker.engine.onnx_options import plan_of
from gpu_worker.engine.options import FORMATS, MAX_PIXELS, OF_THE_ENGINE
from gpu_worker.engine.spec import SpecError, spec_of
from gpu_worker.handlers.faces import CenterFace
from gpu_worker.handlers.images import Cutout, ImageToImage, Mask
from gpu_worker.handlers.labels import Labels
from gpu_worker.handlers.tensors import Tensors
from tests import onnx_graphs as graphs
from tests.unit.gpu_worker.handlers.loading import load_with
from tests.unit.gpu_worker.handlers.test_faces import center_face

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = (Path(__file__).parents[4] / "docs" / "models.md").read_text()
UNKNOWN = "qqqqqq"
SHARED = "Options of all handlers of images"


def documented(*headings: str) -> set[str]:
    names: set[str] = set()
    for heading in headings:
        section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
        for row in re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", section, re.MULTILINE):
            names |= set(re.findall(r"`(\w+)`", row))
    return names


def known(act: Callable[[], Any]) -> set[str]:
    """What the refusal of an option that nobody knows lists."""
    with pytest.raises(SpecError, match=UNKNOWN) as caught:
        act()
    return set(re.findall(r"\w+", str(caught.value).partition("known here: ")[2]))


@pytest.mark.parametrize(
    ("handler", "graph", "headings"),
    [
        (Mask(), graphs.identity([1, 3, 8, 8]), ("Mask", SHARED)),
        (Cutout(), graphs.identity([1, 3, 8, 8]), ("Cutout", "Mask", SHARED)),
        (ImageToImage(), graphs.identity([1, 3, 8, 8]), ("ImageToImage", SHARED)),
        (Labels(), graphs.mean_of_pixels([1, 3, 8, 8]), ("Labels", SHARED)),
        (CenterFace(), center_face(), ("CenterFace",)),
        (Tensors(), graphs.identity([1, 3]), ("Tensors",)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_page_lists_every_handler_s_options(
    tmp_path: Path, handler: Any, graph: bytes, headings: tuple[str, ...]
) -> None:
    read = known(lambda: load_with(handler, tmp_path, graph, inputs={}, outputs={}, options={UNKNOWN: 1}))
    assert read - set(OF_THE_ENGINE) == documented(*headings)


@pytest.mark.parametrize(("device", "heading"), [("cpu", "CPU"), ("cuda", "GPU")])
def test_the_page_lists_every_option_of_onnx_runtime(device: str, heading: str) -> None:
    table = {"name": "m", "backend": "onnx", "handler": "m:f", "inputs": {}, "outputs": {}}
    spec = spec_of(table | {"options": {device: {UNKNOWN: 1}}}, Path("/m"))
    read = known(lambda: plan_of(spec, device)) - {"device_id"}  # known to be refused
    assert read == documented(f"ONNX Runtime on the {heading}")


def test_the_page_lists_the_limits_of_pictures() -> None:
    assert documented("Pictures") == {"formats", "max_pixels"}
    assert f"| `formats` | {', '.join(FORMATS)} |" in PAGE
    assert f"| `max_pixels` | {MAX_PIXELS} |" in PAGE
