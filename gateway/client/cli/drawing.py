"""A picture for demonstrations, drawn here: the client has neither an image library nor a file.

Standard library only.
"""

from __future__ import annotations

import struct
import zlib

SIDE = 256
_DRAWN = 512
"""The figure's own measure."""
_PARTS = (((256, 190), 110), ((256, 430), 150))
"""A head and shoulders, as centre and radius."""


def picture(side: int = SIDE) -> bytes:
    """A PNG of something that stands out from its background, `side` x `side` pixels, RGB."""
    rows = b"".join(b"\0" + b"".join(_pixel(x, y, side) for x in range(side)) for y in range(side))
    header = struct.pack(">2I5B", side, side, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _pixel(x: int, y: int, side: int) -> bytes:
    scaled = (x * _DRAWN // side, y * _DRAWN // side)
    inside = any((scaled[0] - cx) ** 2 + (scaled[1] - cy) ** 2 < r * r for (cx, cy), r in _PARTS)
    return b"\xc8\x78\x46" if inside else bytes((150, 190, 205 + 50 * y // side))


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
