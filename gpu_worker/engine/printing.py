"""What a job prints goes into its own log, though several are in the process. Standard library only.

Both sides are here. In the engine, `Printed` takes the place of `sys.stdout` and `sys.stderr` and marks each
write with the number of the job whose step the thread is in; in the worker, `split` reads the marks out of
the pipe again. What comes without a mark (a C library's own output, a child process, a crash) is nobody's,
unless only one job is there.

    0x1e NUMBER 0x1f text … 0x1e 0 0x1f
"""

from __future__ import annotations

import contextlib
import contextvars
import io
import os
import sys
from typing import TYPE_CHECKING, Any, BinaryIO, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 0
_MARK, _END = b"\x1e", b"\x1f"
_AT_ONCE = 2048
"""A write of this much, marks included, reaches the pipe whole: nothing comes between it and its marks."""
_LONGEST_MARK = 24

_speaker = contextvars.ContextVar("speaker", default=NOBODY)
"""Each thread's own; and a coroutine's is that of the thread which waits for it (see `coroutines`)."""


@contextlib.contextmanager
def speaking(number: int) -> Iterator[None]:
    """What this thread prints within the block belongs to this request."""
    token = _speaker.set(number)
    try:
        yield
    finally:
        _speaker.reset(token)


def listen() -> None:
    """Put `Printed` in the place of this process's standard streams."""
    sys.stdout, sys.stderr = _stream(1), _stream(2)


def _stream(fd: int) -> io.TextIOWrapper:
    buffer = cast("BinaryIO", Printed(fd))
    return io.TextIOWrapper(
        buffer, encoding="utf-8", errors="backslashreplace", newline="\n", write_through=True
    )


class Printed(io.RawIOBase):
    """Bytes on their way to a descriptor, with the number of the job that says them."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd

    def writable(self) -> bool:
        """It is for writing."""
        return True

    def fileno(self) -> int:
        """The descriptor, for who writes past this object or hands it to a child."""
        return self._fd

    def write(self, data: Any) -> int:
        """Write all of it."""
        text, number = bytes(data), _speaker.get()
        for start in range(0, len(text), _AT_ONCE):
            piece = text[start : start + _AT_ONCE]
            _write(self._fd, marked(number, piece) if number else piece)
        return len(text)


def marked(number: int, text: bytes) -> bytes:
    """The text with its speaker's marks around it, and none of its own in it."""
    return b"%b%d%b%b%b0%b" % (_MARK, number, _END, text.replace(_MARK, b"?"), _MARK, _END)


def split(data: bytes, speaker: int) -> tuple[list[tuple[int, bytes]], int, bytes]:
    """Read the marks.

    Args:
        data: What came out of the pipe, after the rest of an earlier call.
        speaker: Who spoke last.

    Returns:
        Who said what, who speaks now, and a mark cut in two, to be put before what comes next.
    """
    first, *others = data.split(_MARK)
    said = [(speaker, first)] if first else []
    for place, piece in enumerate(others):
        digits, end, text = piece.partition(_END)
        if not end and place == len(others) - 1 and len(digits) < _LONGEST_MARK:
            return said, speaker, _MARK + piece
        if end and digits.isdigit() and len(digits) < _LONGEST_MARK:
            speaker = int(digits)
            said += [(speaker, text)] if text else []
        else:  # somebody printed such a byte
            said.append((speaker, _MARK + piece))
    return said, speaker, b""


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
