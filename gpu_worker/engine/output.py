"""What an engine prints: read all the time, so that it never blocks, and the last 64 KiB kept per attempt."""

from __future__ import annotations

import asyncio
import contextlib
import os

TAIL_BYTES = 64 * 1024
_LINE = 300
_CHUNK = 64 * 1024
_DRAIN_BYTES = 4 * 1024 * 1024


class OutputTail:
    """The end of what one attempt printed, stdout and stderr together; may be read while it runs."""

    def __init__(self, limit: int = TAIL_BYTES) -> None:
        self._limit = limit
        self._kept = bytearray()
        self.written = 0

    def write(self, data: bytes) -> None:
        """Add what was printed."""
        self.written += len(data)
        self._kept += data
        del self._kept[: -self._limit]

    def text(self) -> str:
        """The tail as text: no NUL in it, which PostgreSQL would refuse, and a note where it is cut."""
        kept = bytes(self._kept).decode(errors="replace").replace("\0", "\ufffd")
        dropped = self.written - len(self._kept)
        return f"… {dropped} bytes before this were dropped …\n{kept}" if dropped else kept

    def last_words(self) -> str:
        """One line for an error message: Python's own of a fatal error, or the last one printed."""
        lines = [line.strip() for line in self.text().splitlines() if line.strip()]
        fatal = [line for line in lines if line.startswith("Fatal Python error")]
        return [*lines, *fatal][-1][:_LINE] if lines else ""


class OutputPipe:
    """The reading end of an engine's stdout and stderr."""

    def __init__(self, fd: int) -> None:
        self._fd: int | None = fd
        self.tail = OutputTail()
        os.set_blocking(fd, False)
        asyncio.get_running_loop().add_reader(fd, self._read)

    def capture(self, tail: OutputTail) -> None:
        """From now on what is printed belongs to `tail`."""
        self.drain()
        self.tail = tail

    def drain(self) -> None:
        """Take what is already in the pipe (bounded: a thread of the algorithm may print without end)."""
        taken = 0
        while taken < _DRAIN_BYTES and (size := self._read()):
            taken += size

    def close(self) -> None:
        """Stop reading."""
        if self._fd is not None:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = None

    def _read(self) -> int:
        data = b""
        if self._fd is not None:
            with contextlib.suppress(BlockingIOError):
                data = os.read(self._fd, _CHUNK)
                if not data:
                    self.close()
        self.tail.write(data)
        return len(data)
