from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gpu_worker.engine.job import BadInputError, BadOutputError
from gpu_worker.engine.pictures import read_image
from gpu_worker.engine.spec import ModelSpec, SpecError, spec_of
from gpu_worker.engine.values import decode_inputs, encode_outputs


def spec(inputs: dict[str, str], outputs: dict[str, str], content_type: str = "") -> ModelSpec:
    table = {
        "name": "m",
        "backend": "python",
        "handler": "m:f",
        "inputs": {name: {"kind": kind} for name, kind in inputs.items()},
        "outputs": {name: {"kind": kind, "content_type": content_type} for name, kind in outputs.items()},
    }
    return spec_of(table, Path("/m"))


@pytest.mark.parametrize(
    ("kind", "data", "value"),
    [("text", "größe".encode(), "größe"), ("json", b'{"a": 1}', {"a": 1}), ("bytes", b"\0\xff", b"\0\xff")],
)
def test_a_file_is_decoded_by_its_kind(tmp_path: Path, kind: str, data: bytes, value: Any) -> None:
    (tmp_path / "x").write_bytes(data)
    assert decode_inputs(spec({"x": kind}, {"y": "json"}), {"x": {"path": str(tmp_path / "x")}}) == {
        "x": value
    }


def test_audio_is_handed_over_as_a_file(tmp_path: Path) -> None:
    given = decode_inputs(spec({"x": "audio"}, {"y": "json"}), {"x": {"path": str(tmp_path / "x.wav")}})
    assert given == {"x": tmp_path / "x.wav"}


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        ("text", {}, "inputs.x: is required"),
        ("text", {"x": {"json": 3}}, "can't be given as JSON"),
        ("image", {"x": {"json": {}}}, "can't be given as JSON"),
        ("text", {"x": {"json": ""}, "z": {"json": ""}}, "inputs.z: this model has no such input"),
    ],
)
def test_a_wrong_input_is_named(kind: str, given: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        decode_inputs(spec({"x": kind}, {"y": "json"}), given)


@pytest.mark.parametrize(("kind", "what"), [("text", "UTF-8"), ("json", "JSON")])
def test_bytes_that_are_not_of_their_kind_are_named(tmp_path: Path, kind: str, what: str) -> None:
    (tmp_path / "x").write_bytes(b"\xff{")
    with pytest.raises(BadInputError, match=f"inputs.x: not {what}"):
        decode_inputs(spec({"x": kind}, {"y": "json"}), {"x": {"path": str(tmp_path / "x")}})


@pytest.mark.parametrize(
    ("kind", "value", "data"),
    [
        ("text", "größe", "größe".encode()),
        ("json", {"y": np.float32(0.5)}, b'{"y": 0.5}'),
        ("json", np.arange(3), b"[0, 1, 2]"),
        ("bytes", bytearray(b"ab"), b"ab"),
        ("audio", b"RIFF", b"RIFF"),
        ("bytes", {"y": b"ab"}, b"ab"),
    ],
)
def test_an_output_is_encoded_by_its_kind(tmp_path: Path, kind: str, value: Any, data: bytes) -> None:
    made = encode_outputs(spec({"x": "json"}, {"y": kind}), value, tmp_path)
    assert Path(made["y"]["path"]).read_bytes() == data


def test_an_array_may_be_bytes(tmp_path: Path) -> None:
    made = encode_outputs(spec({"x": "json"}, {"y": "bytes"}), np.eye(2), tmp_path)
    assert np.array_equal(np.load(made["y"]["path"]), np.eye(2))


def test_a_file_the_algorithm_wrote_is_taken(tmp_path: Path) -> None:
    (tmp_path / "song").write_bytes(b"RIFF")
    (tmp_path / "out").mkdir()
    made = encode_outputs(spec({"x": "json"}, {"y": "audio"}), tmp_path / "song", tmp_path / "out")
    assert made["y"]["path"] == str(tmp_path / "out" / "y.wav")
    assert (tmp_path / "out" / "y.wav").read_bytes() == b"RIFF"


@pytest.mark.parametrize("content_type", ["image/png", "image/jpeg", "image/webp"])
def test_arrays_and_images_are_written(tmp_path: Path, content_type: str) -> None:
    values: list[Any] = [np.zeros((4, 6, 4), np.uint8), np.zeros((4, 6), np.uint8), Image.new("RGBA", (6, 4))]
    for value in values:
        made = encode_outputs(spec({"x": "json"}, {"y": "image"}, content_type), value, tmp_path)
        assert made["y"]["metadata"] == {"width": 6, "height": 4}
        with Image.open(made["y"]["path"]) as image:
            assert image.get_format_mimetype() == content_type


@pytest.mark.parametrize(
    ("outputs", "value", "said"),
    [
        ({"y": "image"}, 3, "expected an image, not int"),
        ({"y": "image"}, np.zeros((2, 2, 7)), "this array is no image"),
        (
            {"y": "image"},
            np.zeros((2, 3), np.float32),
            r"image/png .*: float32 of shape \(2, 3\); make it uint8",
        ),
        ({"y": "image"}, np.zeros((2, 3), np.float64), r"image/png .*: float64 of shape \(2, 3\)"),
        ({"y": "image"}, np.zeros((2, 3), np.int32), r"image/png .*: int32 of shape \(2, 3\)"),
        ({"y": "image"}, np.zeros((0, 2, 3), np.uint8), r"has no pixels: uint8 of shape \(0, 2, 3\)"),
        ({"y": "image"}, Image.new("L", (0, 3)), "this image has no pixels: mode L of 0x3 pixels"),
        *(
            (
                {"y": "image"},
                Image.new(mode, (3, 2)),
                f"image/png .*: mode {mode} of 3x2 pixels; make it of mode",
            )
            for mode in ("F", "I", "LAB", "HSV", "CMYK")
        ),
        ({"y": "text"}, b"x", "expected a value of kind text, not bytes"),
        ({"y": "json"}, {1, 2}, "outputs.y: not JSON"),
        ({"y": "bytes"}, Path("/no/such"), "there is no file"),
        ({"y": "json", "z": "json"}, {"y": 1}, "expected a dict with the outputs y, z, not y"),
        ({"y": "json", "z": "json"}, 3, "expected a dict with the outputs y, z, not int"),
    ],
)
def test_a_wrong_output_is_named(tmp_path: Path, outputs: dict[str, str], value: Any, said: str) -> None:
    with pytest.raises(BadOutputError, match=said):
        encode_outputs(spec({"x": "json"}, outputs), value, tmp_path)


@pytest.mark.parametrize("content_type", ["image/jpeg", "image/webp", "image/bmp"])
@pytest.mark.parametrize("kind", [np.float32, np.int32, np.uint16])
def test_what_eight_bits_would_turn_white_is_refused(tmp_path: Path, content_type: str, kind: type) -> None:
    with pytest.raises(
        BadOutputError, match=f"can't be written as {content_type} .*: {np.dtype(kind)} of shape"
    ):
        encode_outputs(
            spec({"x": "json"}, {"y": "image"}, content_type), np.full((2, 2), 300, kind), tmp_path
        )


@pytest.mark.parametrize(
    ("content_type", "kind"),
    [
        ("image/png", np.uint16),
        ("image/tiff", np.uint16),
        ("image/tiff", np.int32),
        ("image/tiff", np.float32),
    ],
)
def test_more_than_eight_bits_are_kept_where_they_can_be(
    tmp_path: Path, content_type: str, kind: type
) -> None:
    deep: Any = np.full((2, 2), 300, kind)
    made = encode_outputs(spec({"x": "json"}, {"y": "image"}, content_type), deep, tmp_path)
    with Image.open(made["y"]["path"]) as image:
        assert np.array_equal(np.asarray(image), deep)


def test_json_that_nests_too_deeply_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"[" * 100_000)
    with pytest.raises(BadInputError, match=r"inputs\.x: JSON that is nested too deeply"):
        decode_inputs(spec({"x": "json"}, {"y": "json"}), {"x": {"path": str(tmp_path / "x")}})
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(BadOutputError, match=r"outputs\.y: nested too deeply"):
        encode_outputs(spec({"x": "json"}, {"y": "json"}), deep, tmp_path)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("L", "RGB"),
        ("P", "RGB"),
        ("1", "RGB"),
        ("CMYK", "RGB"),
        ("LA", "RGBA"),
        ("RGBA", "RGBA"),
        ("I;16", "RGB"),
    ],
)
def test_every_mode_becomes_plain(tmp_path: Path, mode: str, expected: str) -> None:
    Image.new(mode, (3, 2)).save(tmp_path / "x.tif")
    assert read_image(tmp_path / "x.tif", "x", 100).mode == expected


def test_sixteen_bits_keep_their_brightness(tmp_path: Path) -> None:
    Image.fromarray(np.full((2, 2), 0x8000, np.uint16)).save(tmp_path / "x.png")
    assert read_image(tmp_path / "x.png", "x", 100).getpixel((0, 0)) == (128, 128, 128)


def test_a_table_with_a_hole_is_named() -> None:
    with pytest.raises(SpecError, match="handler is missing"):
        spec_of({"name": "m", "backend": "python", "inputs": {}, "outputs": {}}, Path("/m"))
    assert json.dumps(spec({"x": "json"}, {"y": "json"}).defaults()) == "{}"


def test_a_model_without_outputs_returns_none(tmp_path: Path) -> None:
    silent = spec({"x": "json"}, {})
    assert encode_outputs(silent, None, tmp_path) == {}
    with pytest.raises(BadOutputError, match="None is expected, not dict"):
        encode_outputs(silent, {"y": 1}, tmp_path)
    assert list(tmp_path.iterdir()) == []
