"""What an engine prints: read all the time, so that it never blocks, and the last 64 KiB kept per attempt."""

from __future__ import annotations

import asyncio
import contextlib
import os

from gpu_worker.engine.printing import NOBODY, split

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
        if not self.written:
            return ""
        kept = bytes(self._kept).decode(errors="replace").replace("\0", "\ufffd")
        dropped = self.written - len(self._kept)
        return f"… {dropped} bytes before this were dropped …\n{kept}" if dropped else kept

    def last_words(self) -> str:
        """One line for an error message: Python's own of a fatal error, or the last one printed."""
        lines = [line.strip() for line in self.text().splitlines() if line.strip()]
        fatal = [line for line in lines if line.startswith("Fatal Python error")]
        return [*lines, *fatal][-1][:_LINE] if lines else ""


class OutputPipe:
    """The reading end of an engine's stdout and stderr.

    What is marked goes to the request that is named; what is not goes to the only one that is there. With
    several there it is dropped: it might be another tenant's.
    """

    def __init__(self, fd: int) -> None:
        self._fd: int | None = fd
        self._tails: dict[int, OutputTail] = {}
        self._speaker = NOBODY
        self._rest = b""
        self.early = OutputTail()
        """What was printed before the first request."""
        os.set_blocking(fd, False)
        asyncio.get_running_loop().add_reader(fd, self._read)

    def open(self, number: int, tail: OutputTail) -> None:
        """From now on this request prints, too."""
        self.drain()
        self.early = OutputTail()  # what comes now while nobody is there is nobody's
        self._tails[number] = tail

    def shut(self, number: int) -> None:
        """It has been answered, and what it printed is in the pipe."""
        self.drain()
        self._tails.pop(number, None)

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
        if data:
            self._take(data)
        return len(data)

    def _take(self, data: bytes) -> None:
        said, self._speaker, self._rest = split(self._rest + data, self._speaker)
        for number, text in said:
            if (tail := self._tail(number)) is not None:
                tail.write(text)

    def _tail(self, number: int) -> OutputTail | None:
        if number != NOBODY:
            return self._tails.get(number)
        if not self._tails:
            return self.early
        return next(iter(self._tails.values())) if len(self._tails) == 1 else None
