"""Arrays out of .npy and .npz files that anybody may have sent. Runs in the engine process.

Nothing is ever unpickled: a file that needs it is refused, and so is one whose header promises more than it
holds, before anything is allocated for it.
"""

from __future__ import annotations

import io
import math
import tokenize
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from gpu_worker.engine.job import BadInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAX_SIDE = 1 << 31
_NO_HEADER = (ValueError, KeyError, SyntaxError, TypeError, MemoryError, RecursionError, tokenize.TokenError)


def read_npy(name: str, data: bytes) -> NDArray[Any]:
    """An array out of an .npy file, sharing its memory.

    Raises:
        BadInputError: It is none, is cut off, or holds Python objects.
    """
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, columns, dtype = read[version](stream)
    except _NO_HEADER as error:
        raise BadInputError(f"inputs.{name}: not an .npy file: {error}") from error
    if dtype.hasobject:
        raise BadInputError(f"inputs.{name}: holds Python objects, which are never unpickled")
    count, size = math.prod(shape), len(data) - stream.tell()
    if count * dtype.itemsize != size or any(not 0 <= side <= _MAX_SIDE for side in shape):
        raise BadInputError(
            f"inputs.{name}: {size} bytes for {dtype} {list(shape)}; the file is cut off or longer"
        )
    flat: NDArray[Any] = np.frombuffer(data, dtype, count, stream.tell()) if size else np.empty(0, dtype)
    return flat.reshape(shape, order="F" if columns else "C")


def read_npz(name: str, data: bytes, max_bytes: int) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz file by name, `max_bytes` in all.

    Raises:
        BadInputError: It is none, is damaged, holds Python objects, or unpacks to more.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > max_bytes:
                raise BadInputError(f"inputs.{name}: unpacks to more than {max_bytes} bytes")
            files = {member.filename.removesuffix(".npy"): archive.read(member) for member in members}
    except (
        zipfile.BadZipFile,
        zlib.error,
        OSError,
        EOFError,
        RuntimeError,
        ValueError,
        MemoryError,
    ) as error:
        raise BadInputError(f"inputs.{name}: not an .npz file: {error}") from error
    return {each: read_npy(f"{name}.{each}", content) for each, content in files.items()}
