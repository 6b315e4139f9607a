"""Masks, cut-outs and better images, on graphs whose results can be said in advance. Real ONNX Runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from gpu_worker.engine.job import BadInputError, BadOutputError
from gpu_worker.engine.spec import SpecError
from gpu_worker.handlers.images import Cutout, ImageToImage, Mask
from tests import onnx_graphs as graphs
from tests.unit.gpu_worker.handlers.loading import count_runs, load, named

if TYPE_CHECKING:
    from pathlib import Path

    from gpu_worker.handlers.images import ImageHandler

PLAIN: dict[str, Any] = {"scale": "255", "mean": [0.0], "std": [1.0]}
MASK = {"mask": "image"}


def halves(size: tuple[int, int] = (8, 8), mode: str = "RGB") -> Image.Image:
    """Black on the left, white on the right."""
    image = Image.new(mode, size, "black")
    image.paste("white", (size[0] // 2, 0, *size))
    return image


def through(handler: ImageHandler, *images: Image.Image) -> list[dict[str, Any]]:
    items = [handler.prepare(image) for image in images]
    made = [handler.finish(item, raw) for item, raw in zip(items, handler.infer(items), strict=True)]
    return [named(handler.outputs.values(), each) for each in made]


def test_a_mask_is_the_graph_s_map_at_the_image_s_size(tmp_path: Path) -> None:
    # Given a graph whose map is the picture's brightness
    handler = load(Mask(), tmp_path, graphs.mean_of_channels([1, 3, 8, 8]), MASK, **PLAIN)
    handler.warm_up()
    # When a larger picture goes through
    (made,) = through(handler, halves((80, 40)))
    # Then the mask is that brightness
    assert (made["mask"].mode, made["mask"].size) == ("L", (80, 40))
    assert [made["mask"].getpixel((x, 20)) for x in (5, 75)] == [0, 255]


def test_a_mask_may_have_another_name(tmp_path: Path) -> None:
    handler = load(Mask(), tmp_path, graphs.mean_of_channels([1, 3, 8, 8]), {"alpha": "image"}, **PLAIN)
    assert through(handler, halves())[0].keys() == {"alpha"}


@pytest.mark.parametrize(
    ("options", "value"),
    [
        ({"activation": "none"}, 51),
        ({"activation": "sigmoid"}, round(255 / (1 + np.exp(-0.2)))),
        ({"activation": "none", "threshold": 0.1}, 255),
        ({"activation": "none", "threshold": 0.3}, 0),
        ({"activation": "minmax"}, 0),  # of one value alone
    ],
)
def test_a_map_becomes_grey_as_the_options_say(tmp_path: Path, options: dict[str, Any], value: int) -> None:
    handler = load(Mask(), tmp_path, graphs.mean_of_channels([1, 3, 8, 8]), MASK, **PLAIN | options)
    (made,) = through(handler, Image.new("RGB", (8, 8), (51, 51, 51)))
    assert made["mask"].getextrema() == (value, value)


@pytest.mark.parametrize(("options", "share"), [({}, 1), ({"channel": 0}, 0)])
def test_of_several_maps_softmax_takes_the_second(
    tmp_path: Path, options: dict[str, Any], share: int
) -> None:
    options = PLAIN | {"scale": "none", "activation": "softmax"} | options
    handler = load(Mask(), tmp_path, graphs.identity([1, 3, 8, 8]), MASK, **options)
    (made,) = through(handler, Image.new("RGB", (8, 8), (0, 90, 0)))
    assert made["mask"].getextrema() == (share * 255,) * 2


@pytest.mark.parametrize("shape", [["n", 3, 8, 8], [1, 3, 8, 8]])
def test_images_share_a_run_where_the_graph_allows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: list[int | str]
) -> None:
    handler = load(Mask(), tmp_path, graphs.mean_of_channels(shape), MASK, **PLAIN | {"activation": "none"})
    runs = count_runs(handler.session, monkeypatch)
    made = through(handler, *(Image.new("L", (8, 8), grey) for grey in (10, 20, 30)))
    assert [each["mask"].getpixel((0, 0)) for each in made] == [10, 20, 30]
    assert runs == ([3] if shape[0] == "n" else [1, 1, 1])


def test_a_cutout_has_the_mask_as_its_transparency(tmp_path: Path) -> None:
    declared = {"mask": "image", "cutout": "image"}
    handler = load(Cutout(), tmp_path, graphs.mean_of_channels([1, 3, 8, 8]), declared, **PLAIN)
    image = halves(mode="RGBA")
    image.putpixel((7, 0), (255, 255, 255, 0))
    (made,) = through(handler, image)
    assert np.array_equal(np.asarray(made["cutout"])[1:, :, 3], np.asarray(made["mask"])[1:])
    assert made["cutout"].getpixel((7, 0))[3] == 0  # what was transparent stays so


def test_only_what_is_declared_is_made(tmp_path: Path) -> None:
    handler = load(Cutout(), tmp_path, graphs.mean_of_channels([1, 3, 8, 8]), {"cutout": "image"}, **PLAIN)
    assert through(handler, halves())[0].keys() == {"cutout"}


@pytest.mark.parametrize("shape", [["n", 3, "h", "w"], ["n", "h", "w", 3]])
def test_an_image_goes_through_at_its_own_size(tmp_path: Path, shape: list[int | str]) -> None:
    handler = load(ImageToImage(), tmp_path, graphs.identity(shape), {"better": "image"}, multiple=4)
    handler.warm_up()
    image = halves((10, 7))
    (made,) = through(handler, image)
    assert made["better"].tobytes() == image.tobytes()
    assert handler.prepare(image).array.shape in {(3, 8, 12), (8, 12, 3)}


def test_a_graph_may_make_it_larger(tmp_path: Path) -> None:
    graph = graphs.doubled(["n", 3, "h", "w"])
    handler = load(ImageToImage(), tmp_path, graph, {"result": "image"}, multiple=4)
    image = halves((10, 7), "RGBA")
    image.putpixel((0, 0), (0, 0, 0, 0))
    (made,) = through(handler, image)
    assert (made["result"].mode, made["result"].size) == ("RGBA", (20, 14))
    assert made["result"].getchannel("A").getpixel((0, 0)) == 0
    assert made["result"].convert("RGB").tobytes() == image.convert("RGB").resize((20, 14), 0).tobytes()


def test_a_graph_of_a_fixed_size_gives_it_back_at_its_own(tmp_path: Path) -> None:
    handler = load(ImageToImage(), tmp_path, graphs.doubled([1, 3, 8, 8]), {"result": "image"})
    (made,) = through(handler, halves((32, 16)))
    assert made["result"].size == (64, 32)


@pytest.mark.parametrize(
    "options",
    [
        {"scale": "255", "out_range": [0, 1]},
        {"scale": "none", "out_range": [0, 255]},
        {"mean": [0.5], "std": [0.5], "out_range": [-1, 1]},
        {"colors": "bgr"},
        {"scale": "max", "resample": "nearest"},
    ],
)
def test_values_come_back_by_their_range(tmp_path: Path, options: dict[str, Any]) -> None:
    handler = load(ImageToImage(), tmp_path, graphs.identity([1, 3, "h", "w"]), {"y": "image"}, **options)
    image = Image.new("RGB", (4, 4), (255, 100, 3))
    assert through(handler, image)[0]["y"].tobytes() == image.tobytes()


@pytest.mark.parametrize("dtype", ["float16", "uint8", "float64"])
def test_the_graph_s_type_is_what_it_gets(tmp_path: Path, dtype: str) -> None:
    graph = graphs.identity([1, 3, "h", "w"], dtype=dtype)
    options = {"scale": "none", "out_range": [0, 255]}
    handler = load(ImageToImage(), tmp_path, graph, {"y": "image"}, **options)
    image = Image.new("RGB", (4, 4), (255, 100, 3))
    assert handler.prepare(image).array.dtype == dtype
    assert through(handler, image)[0]["y"].tobytes() == image.tobytes()


def test_a_grey_graph_makes_grey_pictures(tmp_path: Path) -> None:
    handler = load(ImageToImage(), tmp_path, graphs.identity(["n", 1, "h", "w"]), {"y": "image"})
    assert through(handler, halves())[0]["y"].tobytes() == halves(mode="L").tobytes()


def test_a_long_image_is_refused_where_that_is_said(tmp_path: Path) -> None:
    handler = load(ImageToImage(), tmp_path, graphs.identity([1, 3, "h", "w"]), {"y": "image"}, max_side=16)
    with pytest.raises(BadInputError, match="17x4; the longest side is 16"):
        handler.prepare(Image.new("RGB", (17, 4)))


FOUR = [1, 3, 8, 8]


@pytest.mark.parametrize(
    ("shape", "outputs", "options", "said"),
    [
        (FOUR, MASK, {"sizes": [8, 8]}, r"options\.sizes: no such option; did you mean 'size'\?"),
        (
            FOUR,
            MASK,
            {"size": [9, 8]},
            r"options\.size: 9x8 does not fit the graph's input x float32\[1, 3, 8, 8\]",
        ),
        (FOUR, MASK, {"size": [8]}, r"options\.size: must be a list of 2 numbers"),
        (["n", 3, "h", "w"], MASK, {"size": [0, 8]}, r"options\.size: must be \[width, height\]"),
        (["n", 3, 8, "w"], MASK, {}, r"options\.size: say \[width, height\]"),
        (FOUR, MASK, {"input": "abc"}, r"options\.input: the graph has no input 'abc'; it has x float32"),
        (FOUR, MASK, {"output": "Y"}, r"options\.output: the graph has no output 'Y'; did you mean 'y'\?"),
        (FOUR, MASK, {"mean": [1, 2]}, r"options\.mean: must be a list of 1 or 3 numbers"),
        (FOUR, MASK, {"std": [0]}, r"options\.std: must not be 0"),
        (FOUR, MASK, {"activation": "relu"}, r"options\.activation: must be one of minmax, none"),
        (FOUR, {"mask": "json"}, {}, r"outputs\.mask: is of kind json, its handler makes image"),
        (FOUR, {"mask": "image", "more": "image"}, {}, r"outputs\.more: Mask makes mask \(image\)"),
        ([1, 10], MASK, {}, r"the graph's input x float32\[1, 10\] takes no picture"),
        ([1, 5, 8, 8], MASK, {}, r"with 1 or 3 channels"),
        ([4, 3, 8, 8], MASK, {}, r"takes exactly 4 at once; make its first dimension dynamic"),
    ],
)
def test_what_does_not_fit_is_said_when_it_loads(
    tmp_path: Path, shape: list[int | str], outputs: dict[str, str], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(SpecError, match=said):
        load(Mask(), tmp_path, graphs.identity(shape), outputs, **options)


@pytest.mark.parametrize(
    ("handler", "graph", "options", "said"),
    [
        (Mask(), graphs.mean_of_pixels(FOUR), {}, r"the graph's output y float32\[1, 3\] is no map"),
        (
            Mask(),
            graphs.identity(FOUR),
            {"channel": 3},
            r"options\.channel: the graph's output y .* has 3 maps",
        ),
        (ImageToImage(), graphs.mean_of_pixels(FOUR), {}, r"is no picture of 1 or 3 channels"),
    ],
)
def test_an_output_that_is_no_picture_is_said_when_it_loads(
    tmp_path: Path, handler: ImageHandler, graph: bytes, options: dict[str, Any], said: str
) -> None:
    load(handler, tmp_path, graph, {"y": "image"}, **options)
    with pytest.raises(BadOutputError, match=said):
        handler.warm_up()


@pytest.mark.parametrize("handler", [Mask(), Cutout(), ImageToImage()], ids=lambda each: type(each).__name__)
def test_what_is_no_number_is_said_and_not_drawn_black(tmp_path: Path, handler: ImageHandler) -> None:
    # Given a graph that takes the root of what is below zero where the picture is black
    root = graphs.model(
        [graphs.node("Sqrt", ["x"], ["y"])], {"x": ("float32", FOUR)}, {"y": ("float32", FOUR)}
    )
    name = next(iter(handler.makes))
    load(handler, tmp_path, root, {name: "image"}, **PLAIN | {"mean": [0.5], "size": [8, 8]})
    # When a black picture warms it up, then it may serve others
    handler.warm_up()
    assert through(handler, Image.new("RGB", (8, 8), "white"))
    # And a job that is half black is told so
    with pytest.raises(BadOutputError, match=r"output y has 96 NaN values of 192: did FP16 overflow\?"):
        through(handler, halves())


class Tinted(Cutout):
    own_options = ("tint",)


def test_a_subclass_may_have_options_of_its_own(tmp_path: Path) -> None:
    declared = {"mask": "image"}
    load(Tinted(), tmp_path, graphs.mean_of_channels(FOUR), declared, tint="red", **PLAIN)
    with pytest.raises(SpecError, match=r"options\.tinge"):
        load(Tinted(), tmp_path, graphs.mean_of_channels(FOUR), declared, tinge="red", **PLAIN)
