"""An algorithm whose GPU is elsewhere: it only waits, so that many fit on few cores."""

from __future__ import annotations

import os
import time


def nap(number: int, seconds: float, ledger: str) -> int:
    """Return `number` after so long, noted in the file `ledger`."""
    time.sleep(seconds)
    line = os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.write(line, f"{number}\n".encode())  # one write: lines of two workers never mix
    os.close(line)
    return number
