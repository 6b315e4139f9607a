"""The README's pictures: paths alone, and small."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from PIL import Image

from tests.pictures.engraving import MAX_BYTES, SVG, engraved
from tests.stack import ROOT

PICTURES = sorted((ROOT / "docs" / "pictures").iterdir())
SHEET = """<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="960pt">
<defs><symbol id="glyph0"><path style="stroke:none;" d="M 0.703125 2.4375 L 6.75 1.671875 Z"/></symbol>
<clipPath id="clip1"><path d="M 0 0 L 9 9 Z"/></clipPath>{image}</defs>
<g clip-path="url(#clip1)" clip-rule="evenodd"><use xlink:href="#glyph0" x="12.015625" y="-0.0078125"/></g>
</svg>"""


def sheet(picture: Image.Image | None = None) -> ET.Element:
    """Engraved, with this picture in it."""
    image = ""
    if picture is not None:
        file = io.BytesIO()
        picture.save(file, "PNG")
        bytes64 = base64.b64encode(file.getvalue()).decode()
        image = f'<image id="i1" width="40" height="20" xlink:href="data:image/png;base64,{bytes64}"/>'
    return ET.fromstring(engraved(SHEET.format(image=image)))  # noqa: S314  our own


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
def test_what_lies_in_the_repository_is_small_and_holds_no_bytes_of_a_raster(picture: Path) -> None:
    text = picture.read_text()
    assert len(text) <= MAX_BYTES
    for forbidden in ("data:", "<image", "<script", "127.0.0.1", "lev_"):
        assert forbidden not in text
    assert ET.fromstring(text).tag == f"{SVG}svg"  # noqa: S314  our own


def test_numbers_are_short_and_small_shapes_stay_sharp() -> None:
    root = sheet()
    paths = [path.get("d") for path in root.iter(f"{SVG}path")]
    assert paths == ["M0.7 2.44L6.75 1.67Z", "M0 0L9 9Z"]
    (use,) = root.iter(f"{SVG}use")
    assert (use.get("x"), use.get("y")) == ("12", "0")


def test_a_clips_rule_is_where_it_counts() -> None:
    root = sheet()
    (group,) = root.iter(f"{SVG}g")
    clip = root.find(f".//{SVG}clipPath/{SVG}path")
    assert group.get("clip-rule") is None
    assert clip is not None
    assert clip.get("clip-rule") == "evenodd"


def test_a_picture_within_becomes_squares_of_its_size() -> None:
    picture = Image.new("RGB", (4, 2), "#ff0000")
    picture.putpixel((3, 1), (0, 0, 255))
    group = sheet(picture).find(f".//{SVG}g[@id='i1']")
    assert group is not None
    assert group.get("transform") == "scale(10,10) translate(0,.5)"
    assert {path.get("stroke"): path.get("d") for path in group} == {
        "#ff0000": "M0 0h4M0 1h3",
        "#0000ff": "M3 1h1",
    }


def test_a_ground_is_one_square() -> None:
    group = sheet(Image.new("RGB", (30, 30), "#f7f7f7")).find(f".//{SVG}g[@id='i1']")
    assert group is not None
    assert [path.get("d") for path in group] == ["M0 0h1"]
