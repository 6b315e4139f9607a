"""What a process holds in memory. Standard library only."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")


def memory_mb(pid: int | str = "self") -> float:
    """Resident megabytes (10^6 bytes) of a process; 0 where it is gone, or on another system than Linux."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE / 1e6
    return 0.0
