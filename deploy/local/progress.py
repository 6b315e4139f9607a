"""Progress lines with the time since the start; the only place of the stack that prints them."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path


def shown(path: Path) -> str:
    """The path as the person would write it: from the folder `deploy/up` was called in, if it lies below."""
    stands = Path(os.environ.get("_LEVERET_FROM") or Path.cwd()).resolve()
    return str(path.relative_to(stands) if path.is_relative_to(stands) else path)


class Progress:
    """Prints `  3.2s  redis is ready` lines to stderr, so that stdout stays for results.

    `deploy/up` says by `_LEVERET_BEGAN` when it began, so that the seconds run on.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        already = time.time() - float(os.environ.get("_LEVERET_BEGAN", time.time()))
        self._began = time.monotonic() - already
        self._quiet = quiet

    def say(self, text: str) -> None:
        """Print one line with the elapsed time in front."""
        if not self._quiet:
            print(f"{time.monotonic() - self._began:6.1f}s  {text}", file=sys.stderr, flush=True)
