"""Images, the hostile ones built by hand: each is a picture or a clear refusal, never anything else."""

from __future__ import annotations

import io
import random
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from gpu_worker.engine.job import BadInputError
from gpu_worker.engine.options import PictureLimits
from gpu_worker.engine.pictures import read_image, write_image

if TYPE_CHECKING:
    from pathlib import Path

SIGNATURE = b"\x89PNG\r\n\x1a\n"
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
UPRIGHT = 1


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *, bits: int = 1, more: bytes = b"", data: bytes | None = None) -> bytes:
    """A grey PNG; without `data` its pixels are those of a black picture."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    rows = b"\0" * ((width * bits + 7) // 8 + 1)
    body = zlib.compress(rows * height) if data is None else data
    return SIGNATURE + head + more + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def quarters(mode: str = "RGB") -> Image.Image:
    """Red, green, blue and white, so that a turn is seen."""
    image = Image.new("RGB", (16, 8), "red")
    for color, place in (("lime", (8, 0)), ("blue", (0, 4)), ("white", (8, 4))):
        image.paste(color, (*place, place[0] + 8, place[1] + 4))
    return image.convert(mode)


def read(root: Path, data: bytes, **limits: Any) -> Image.Image:
    (root / "x").write_bytes(data)
    return read_image(root / "x", "x", PictureLimits(**limits))


@pytest.mark.parametrize("form", FORMATS)
def test_every_accepted_format_is_read(tmp_path: Path, form: str) -> None:
    image = read(tmp_path, encoded(quarters(), form))
    assert (image.mode, image.size) == ("RGB", (16, 8))


@pytest.mark.parametrize(
    "data",
    [b"", b"\x89", b"P", SIGNATURE, b"\xff\xd8", b"GIF89a", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"<svg/>"],
    ids=["empty", "one byte", "another byte", "signature", "JPEG marker", "GIF marker", "EPS", "SVG"],
)
def test_what_is_no_image_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(BadInputError, match=r"inputs\.x: "):
        read(tmp_path, data)


@pytest.mark.parametrize("form", ["PPM", "ICO", "TGA", "PCX", "ICNS"])
def test_a_format_beyond_the_list_is_never_opened(tmp_path: Path, form: str) -> None:
    with pytest.raises(BadInputError, match="not an image; accepted are PNG, JPEG"):
        read(tmp_path, encoded(quarters("RGBA" if form == "ICNS" else "RGB"), form))


def test_a_model_may_accept_fewer_formats(tmp_path: Path) -> None:
    assert read(tmp_path, encoded(quarters(), "PNG"), formats=("PNG",)).size == (16, 8)
    with pytest.raises(BadInputError, match=r"not an image; accepted are PNG$"):
        read(tmp_path, encoded(quarters(), "JPEG"), formats=("PNG",))


@pytest.mark.parametrize(("width", "height"), [(40_000, 40_000), (2**31 - 1, 2**31 - 1), (10_000, 10_000)])
def test_too_many_pixels_are_refused_before_any_is_decoded(tmp_path: Path, width: int, height: int) -> None:
    # Given a header that promises them, before data that is none
    with pytest.raises(BadInputError, match=r"pixels; at most 50000000 are accepted"):
        read(tmp_path, png(width, height, data=b"no data"))


def test_a_whole_picture_of_40000_by_40000_is_refused(tmp_path: Path) -> None:
    packed = zlib.compressobj(9)
    row = b"\0" * 5001
    data = b"".join([*(packed.compress(row * 100) for _ in range(400)), packed.flush()])
    with pytest.raises(BadInputError, match="1600000000 pixels; at most 50000000 are accepted"):
        read(tmp_path, png(40_000, 40_000, data=data))


def test_a_model_may_set_its_own_limit(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="101x100 pixels; at most 10000 are accepted"):
        read(tmp_path, png(101, 100), max_pixels=10_000)
    # and a larger one than Pillow would let pass
    assert read(tmp_path, png(100, 100), max_pixels=10_000).size == (100, 100)
    with pytest.raises(BadInputError, match=r"(200000000|20000x10000) pixels; at most 199999999 are"):
        read(tmp_path, png(20_000, 10_000, data=b""), max_pixels=199_999_999)


def test_a_text_chunk_that_unpacks_to_much_is_refused(tmp_path: Path) -> None:
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * 100_000_000))
    with pytest.raises(BadInputError, match=r"inputs\.x: the image is damaged"):
        read(tmp_path, png(8, 8, more=bomb))


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, form: str) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8)
    data = encoded(Image.fromarray(noise), form)
    for share in (0.2, 0.5, 0.8):
        with pytest.raises(BadInputError, match=r"inputs\.x: "):
            read(tmp_path, data[: int(len(data) * share)])


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's words on what it passes over
@pytest.mark.parametrize("form", FORMATS)
def test_whatever_is_damaged_is_a_picture_or_refused(tmp_path: Path, form: str) -> None:
    # Given good files with a few bytes changed, most of them in the header
    whole = encoded(quarters(), form)
    chance = random.Random(7)  # noqa: S311  a test's dice
    refused = 0
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            data[int(len(data) * chance.random() ** 2)] = chance.randrange(256)
        # When it is read, then it is of a known mode, or refused in words
        try:
            assert read(tmp_path, bytes(data), max_pixels=1_000_000).mode in {"RGB", "RGBA"}
        except BadInputError as error:
            assert str(error).startswith("inputs.x: ")  # noqa: PT017  both ends are right
            refused += 1
    assert refused


STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How a camera that was held so puts an upright picture into the file."""


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_upright(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = quarters() if orientation == UPRIGHT else quarters().transpose(STORED[orientation])
    image = read(tmp_path, encoded(stored, "PNG", exif=exif))
    assert (image.size, image.tobytes()) == ((16, 8), quarters().tobytes())
    assert "exif" not in image.info


@pytest.mark.filterwarnings("ignore::UserWarning")  # idem
def test_damaged_exif_is_passed_over(tmp_path: Path) -> None:
    image = read(tmp_path, encoded(quarters(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\x13" * 40))
    assert image.size == (16, 8)


@pytest.mark.parametrize(
    ("mode", "form", "expected"),
    [
        ("L", "PNG", "RGB"),
        ("1", "PNG", "RGB"),
        ("P", "PNG", "RGB"),
        ("LA", "PNG", "RGBA"),
        ("RGBA", "PNG", "RGBA"),
        ("CMYK", "JPEG", "RGB"),
        ("CMYK", "TIFF", "RGB"),
        ("YCbCr", "TIFF", "RGB"),
        ("I;16", "TIFF", "RGB"),
    ],
)
def test_every_mode_becomes_plain(tmp_path: Path, mode: str, form: str, expected: str) -> None:
    assert read(tmp_path, encoded(Image.new(mode, (3, 2)), form)).mode == expected


def test_cmyk_keeps_its_colors(tmp_path: Path) -> None:
    image = read(tmp_path, encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF"))
    assert image.getpixel((4, 4)) == (255, 0, 0)


def test_a_palette_with_a_transparent_entry_is_looked_up(tmp_path: Path) -> None:
    image = quarters("P")
    data = encoded(image, "PNG", transparency=image.getpixel((0, 0)))
    read_back = read(tmp_path, data)
    assert read_back.mode == "RGBA"
    assert [read_back.getpixel((x, 0)) for x in (0, 15)] == [(255, 0, 0, 0), (0, 255, 0, 255)]


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits_keep_their_brightness(tmp_path: Path, form: str) -> None:
    image = Image.fromarray(np.full((2, 2), 0x8000, np.uint16))
    assert read(tmp_path, encoded(image, form)).getpixel((0, 0)) == (128, 128, 128)


def test_sixteen_bits_may_be_transparent(tmp_path: Path) -> None:
    data = png(2, 2, bits=16, more=chunk(b"tRNS", b"\0\0"))
    assert read(tmp_path, data).size == (2, 2)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.full((2, 2), 70_000, np.int32), "32-bit pixels from 70000 to 70000"),
        (np.full((2, 2), -1, np.int32), "32-bit pixels from -1"),
        (np.full((2, 2), 0.5, np.float32), "floating point pixels"),
    ],
)
def test_pixels_of_no_agreed_range_are_refused(tmp_path: Path, array: Any, said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        read(tmp_path, encoded(Image.fromarray(array), "TIFF"))


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_counts(tmp_path: Path, form: str) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue", "lime")]
    data = encoded(frames[0], form, save_all=True, append_images=frames[1:], duration=10, **_lossless(form))
    assert read(tmp_path, data).convert("RGB").getpixel((4, 4)) == (255, 0, 0)


def _lossless(form: str) -> dict[str, Any]:
    return {"lossless": True} if form == "WEBP" else {}


@pytest.mark.parametrize(("mode", "kept"), [("RGB", True), ("RGBA", True), ("P", True), ("L", False)])
def test_a_profile_stays_where_it_is_true(tmp_path: Path, mode: str, *, kept: bool) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = read(tmp_path, encoded(quarters(mode), "PNG", icc_profile=profile))
    assert (image.info.get("icc_profile") == profile) is kept
    # And it goes into what is made of the picture, unless that is grey
    for made, expected in ((image, kept), (image.convert("L"), False)):
        for content_type in ("image/png", "image/jpeg", "image/webp"):
            write_image(made, tmp_path / "made", content_type, "y")
            with Image.open(tmp_path / "made") as written:
                assert bool(written.info.get("icc_profile")) is expected


def test_where_a_picture_was_taken_reaches_no_output(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8825)[1] = "N"
    exif[0x010F] = "Maker"
    image = read(tmp_path, encoded(quarters(), "JPEG", exif=exif))
    for content_type in ("image/png", "image/jpeg", "image/webp", "image/tiff"):
        write_image(image, tmp_path / "made", content_type, "y")
        assert b"Maker" not in (tmp_path / "made").read_bytes()
