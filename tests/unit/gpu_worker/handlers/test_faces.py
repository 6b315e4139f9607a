"""CenterFace's arithmetic on maps made by hand; the real graph is in tests/integration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from gpu_worker.engine.spec import SpecError
from gpu_worker.handlers.faces import CenterFace, Faces, blurred, decode, separate
from tests import onnx_graphs as graphs
from tests.unit.gpu_worker.handlers.loading import load, named

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

BOTH = {"faces": "json", "blurred": "image"}
SHAPE: list[int | str] = ["n", 3, "h", "w"]


def maps(rows: int = 8, columns: int = 10) -> list[NDArray[np.float32]]:
    return [np.zeros((count, rows, columns), np.float32) for count in (1, 2, 2, 10)]


def center_face(shape: list[int | str] = SHAPE, counts: tuple[int, ...] = (1, 2, 2, 10)) -> bytes:
    """A graph of CenterFace's form: its heat is the red of each cell, all faces are of one cell."""
    nodes = [graphs.node("AveragePool", ["x"], ["cells"], kernel_shape=[4, 4], strides=[4, 4])]
    weights = []
    for name, count in zip(("heat", "scale", "offset", "marks"), counts, strict=False):
        kernel = np.zeros((count, 3, 1, 1), np.float32)
        kernel[0, 0] = 1 / 255 if name == "heat" else 0
        weights.append(graphs.tensor(f"w_{name}", kernel))
        nodes.append(graphs.node("Conv", ["cells", f"w_{name}"], [name]))
    sides = ["n", "rows", "columns"]
    outputs: dict[str, tuple[str, list[int | str]]] = {
        name: ("float32", [sides[0], count, *sides[1:]])
        for name, count in zip(("heat", "scale", "offset", "marks"), counts, strict=False)
    }
    return graphs.model(nodes, {"x": ("float32", shape)}, outputs, weights)


def test_a_face_is_where_its_cell_says() -> None:
    # Given one sure cell in row 3, column 5: 8 x 12 pixels, its centre a quarter cell on, two landmarks
    heat, scale, offset, marks = maps()
    heat[0, 3, 5] = 0.9
    scale[:, 3, 5] = np.log([3, 2])  # height and width, in cells of 4 pixels
    offset[:, 3, 5] = [0.25, 0.25]
    marks[0:4, 3, 5] = [0.5, 0.25, 1.0, 0.75]  # y, x, y, x: of the face
    # When it is decoded
    faces = decode([heat, scale, offset, marks], 0.5, (40, 32))
    # Then its middle is (5 + 0.25 + 0.5) * 4 = 23, (3 + 0.25 + 0.5) * 4 = 15
    assert faces.boxes.tolist() == [pytest.approx([19, 9, 27, 21])]
    assert faces.scores.tolist() == [pytest.approx(0.9)]
    assert faces.landmarks[0, :2].tolist() == [pytest.approx([21, 15]), pytest.approx([25, 21])]
    # And in an image twice as wide and half as high
    assert faces.scaled(2, 0.5).boxes.tolist() == [pytest.approx([38, 4.5, 54, 10.5])]


def test_boxes_end_where_the_image_does() -> None:
    heat, scale, offset, marks = maps()
    heat[0, 0, 0] = heat[0, 7, 9] = 1
    scale[:] = np.log(20)
    boxes = decode([heat, scale, offset, marks], 0.5, (40, 32)).boxes
    assert boxes.min() == 0
    assert boxes.max(axis=0).tolist() == [0, 0, 40, 32]


def test_none_is_an_answer() -> None:
    faces = separate(decode(maps(), 0.5, (40, 32)), 0.3)
    assert (faces.boxes.shape, faces.landmarks.shape) == ((0, 4), (0, 5, 2))


def test_of_boxes_that_overlap_the_surer_stays() -> None:
    boxes = np.asarray([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10], [0, 0, 10, 4]], np.float32)
    faces = Faces(boxes, np.asarray([0.6, 0.9, 0.7, 0.5], np.float32), np.zeros((4, 5, 2), np.float32))
    kept = separate(faces, 0.45)
    assert kept.scores.tolist() == pytest.approx([0.9, 0.7, 0.5])  # the last shares 36 of 104
    assert separate(faces, 0.3).scores.tolist() == pytest.approx([0.9, 0.7])
    assert len(separate(faces, 1).scores) == 4


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_blurred_face_can_not_be_known(mode: str) -> None:
    noise = np.random.default_rng(5).integers(0, 255, (100, 100, len(mode)), np.uint8)
    image = Image.fromarray(noise, mode)
    hidden = blurred(
        image, np.asarray([[30, 30, 70, 70], [-9, -9, 5, 5], [98, 98, 140, 140]], np.float32), 0.2
    )
    before, after = np.asarray(image, np.int32), np.asarray(hidden, np.int32)
    face = (slice(40, 60), slice(40, 60))
    assert after[face][..., :3].std() < before[face][..., :3].std() / 3
    assert np.array_equal(after[76:92, 8:92], before[76:92, 8:92])  # what is no face stays
    assert image.tobytes() == noise.tobytes()  # and the input itself


def found(handler: CenterFace, *images: Image.Image, **params: Any) -> list[Any]:
    items = [handler.prepare(image, **params) for image in images]
    made = [handler.finish(item, raw) for item, raw in zip(items, handler.infer(items), strict=True)]
    return [named(handler.outputs, each) for each in made]


def test_a_graph_of_its_form_runs(tmp_path: Path) -> None:
    # Given pictures of two sizes, of which one has two red cells
    handler = load(CenterFace(), tmp_path, center_face(), BOTH)
    handler.warm_up()
    red = Image.new("RGB", (64, 32))
    red.paste("red", (16, 8, 20, 12))
    red.paste((204, 0, 0), (40, 8, 44, 12))
    # When they go through in one batch
    first, empty, large = found(handler, red, Image.new("RGB", (64, 32)), red.resize((128, 64), 0))
    # Then each has its own faces, the surest first, in its own pixels
    assert [(face["x"], face["y"], face["width"], face["score"]) for face in first["faces"]["faces"]] == [
        (16, 8, 4, 1.0),
        (40, 8, 4, 0.8),
    ]
    assert (first["faces"]["width"], first["faces"]["height"]) == (64, 32)
    assert len(first["faces"]["faces"][0]["landmarks"]) == 5
    assert empty["faces"]["faces"] == []
    assert empty["blurred"].getextrema() == ((0, 0),) * 3
    assert len(large["faces"]["faces"]) == 8  # each a cell of its own
    assert first["blurred"].size == (64, 32)


def test_a_job_may_ask_for_surer_faces(tmp_path: Path) -> None:
    handler = load(CenterFace(), tmp_path, center_face(), {"faces": "json"})
    image = Image.new("RGB", (32, 32), (150, 0, 0))
    assert len(found(handler, image)[0]["faces"]["faces"]) == 64
    assert found(handler, image, threshold=0.9)[0] == {"faces": {"width": 32, "height": 32, "faces": []}}


def test_a_large_image_is_looked_at_small(tmp_path: Path) -> None:
    handler = load(CenterFace(), tmp_path, center_face(), {"faces": "json"}, max_side=64)
    photo = handler.prepare(Image.new("RGB", (640, 300)))
    assert photo.array.shape == (3, 32, 64)
    assert handler.prepare(Image.new("RGB", (1, 3000))).array.shape == (3, 64, 32)


@pytest.mark.parametrize(
    ("graph", "options", "said"),
    [
        (
            center_face([1, 3, 32, 32]),
            {},
            r'fixed size; make it dynamic in \[options.shapes\]: "x" = \["batch", 3',
        ),
        (center_face([10, 3, "h", "w"]), {}, "takes exactly 10 at once"),
        (center_face(counts=(1, 2, 2)), {}, "is no CenterFace"),
        (graphs.identity(SHAPE), {}, "is no CenterFace"),
        (center_face(), {"heat": "warmth"}, r"options\.heat: the graph has no output 'warmth'"),
        (center_face(), {"treshold": 1}, r"did you mean 'threshold'\?"),
        (center_face(), {"max_side": 8}, "options.max_side: must be at least 32"),
    ],
)
def test_what_does_not_fit_is_said_when_it_loads(
    tmp_path: Path, graph: bytes, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(SpecError, match=said):
        load(CenterFace(), tmp_path, graph, BOTH, **options)


def test_outputs_in_another_order_are_seen_when_it_warms_up(tmp_path: Path) -> None:
    handler = load(CenterFace(), tmp_path, center_face(counts=(2, 1, 2, 10)), BOTH)
    with pytest.raises(SpecError, match=r"options\.heat: 1 maps were expected"):
        handler.warm_up()
    handler = load(
        CenterFace(), tmp_path, center_face(counts=(2, 1, 2, 10)), BOTH, heat="scale", scale="heat"
    )
    handler.warm_up()
