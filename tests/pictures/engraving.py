"""A page of PDF as an SVG that may lie in the repository: paths alone, short numbers, no embedded bytes.

Pictures within the page (a job's input, its result) are made of coarse squares: a raster in an SVG is a
binary file in disguise.
"""

from __future__ import annotations

import base64
import io
import re
import subprocess
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from xml.etree import ElementTree as ET

from PIL import Image

SVG = "{http://www.w3.org/2000/svg}"
XLINK = "{http://www.w3.org/1999/xlink}href"
MAX_BYTES = 200_000
SQUARES = 80
"""Of a picture's longer side."""
COLOURS = 28
PLAIN = 40
"""Below such a difference between dark and light a picture is a ground."""
CONVERT_S = 60
NUMBER = re.compile(r"-?\d+\.\d+")
AROUND = re.compile(r"\s*([MLHVCZ,])\s*")
ROUNDED = {"d": 1, "x": 1, "y": 1, "width": 1, "height": 1, "stroke-width": 2, "transform": 4, "points": 1}
GLYPH_DIGITS = 2
"""Outlines of letters are small."""


def engrave(sheet: Path, target: Path, *, pdftocairo: str) -> int:
    """Write the first page of a PDF as SVG.

    Returns:
        Its size in bytes.

    Raises:
        ValueError: It is larger than the repository takes, or holds embedded bytes.
    """
    command = [pdftocairo, "-svg", "-f", "1", "-l", "1", str(sheet), "-"]
    made = subprocess.run(command, check=True, capture_output=True, timeout=CONVERT_S).stdout
    text = engraved(made.decode())
    if "data:" in text or len(text) > MAX_BYTES:
        raise ValueError(f"{target.name} has {len(text)} bytes, or embedded ones: at most {MAX_BYTES} go in")
    target.write_text(text)
    return len(text)


def engraved(svg: str) -> str:
    """The same picture in paths alone."""
    ET.register_namespace("", SVG.strip("{}"))
    ET.register_namespace("xlink", XLINK.partition("}")[0].strip("{"))
    root = ET.fromstring(svg)  # noqa: S314  our own converter made it
    for parent in list(root.iter()):
        for place, child in enumerate(list(parent)):
            if child.tag == f"{SVG}image":
                parent[place] = _squares(child)
    _mend_clips(root)
    letters = {part for glyph in root.iter(f"{SVG}symbol") for part in glyph.iter()}
    for element in root.iter():
        _shorten(element, GLYPH_DIGITS if element in letters else None)
    return ET.tostring(root, encoding="unicode").replace(' style="stroke:none;"', "").replace("\n", "")


def _mend_clips(root: ET.Element) -> None:
    """Cairo writes a clip's rule where it is used; it counts where the clip is drawn only."""
    clips = {f"url(#{clip.get('id')})": clip for clip in root.iter(f"{SVG}clipPath")}
    for group in root.iter(f"{SVG}g"):
        if rule := group.attrib.pop("clip-rule", None):
            for path in clips[group.attrib["clip-path"]].iter(f"{SVG}path"):
                path.set("clip-rule", rule)


def _shorten(element: ET.Element, digits: int | None) -> None:
    for name, value in element.attrib.items():
        if name in ROUNDED:
            element.set(name, _shortened(value, digits or ROUNDED[name]))


def _shortened(value: str, digits: int) -> str:
    return AROUND.sub(r"\1", NUMBER.sub(lambda found: _short(found[0], digits), value)).strip()


def _short(number: str, digits: int) -> str:
    said = f"{float(number):.{digits}f}".rstrip("0").rstrip(".")
    return "0" if said == "-0" else said


def _squares(image: ET.Element) -> ET.Element:
    """A group in the image's place: rows of equal colour as strokes, one path for each colour."""
    raw = base64.b64decode(image.attrib[XLINK].partition(",")[2])
    with Image.open(io.BytesIO(raw)) as picture:
        few = _few(picture)
    wide, high = (float(image.attrib[name]) for name in ("width", "height"))
    scale = f"scale({wide / few.width:.4f},{high / few.height:.4f}) translate(0,.5)"
    group = ET.Element(f"{SVG}g", {"shape-rendering": "crispEdges", "fill": "none", "transform": scale})
    if "id" in image.attrib:
        group.set("id", image.attrib["id"])
    for colour, runs in _runs(few).items():
        path = "".join(f"M{x} {y}h{n}" for x, y, n in runs)
        group.append(ET.Element(f"{SVG}path", {"stroke": colour, "d": path}))
    return group


def _few(picture: Image.Image) -> Image.Image:
    """Few squares of few colours; a single one where there is hardly a difference."""
    plain = picture.convert("RGB")
    shades = [shade for shade, n in enumerate(plain.convert("L").histogram()) if n]
    if shades[-1] - shades[0] < PLAIN:
        return plain.resize((1, 1), Image.Resampling.BOX)
    share = min(1.0, SQUARES / max(plain.size))
    size = (max(1, round(plain.width * share)), max(1, round(plain.height * share)))
    return plain.resize(size, Image.Resampling.BOX).quantize(COLOURS).convert("RGB")


def _runs(picture: Image.Image) -> dict[str, list[tuple[int, int, int]]]:
    """By colour the runs of it: column, row, length."""
    found: dict[str, list[tuple[int, int, int]]] = {}
    for row in range(picture.height):
        for colour, column, length in _row(picture, row):
            found.setdefault(colour, []).append((column, row, length))
    return found


def _row(picture: Image.Image, row: int) -> Iterator[tuple[str, int, int]]:
    column = 0
    pixels = [picture.getpixel((each, row)) for each in range(picture.width)]
    for pixel, same in groupby(pixels):
        length = len(list(same))
        yield "#{:02x}{:02x}{:02x}".format(*pixel), column, length  # type: ignore[misc]
        column += length
