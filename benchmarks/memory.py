"""What processes hold in memory, as the kernel counts it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

LIMIT_MB = 150
"""What the gateway, and the worker's parent, may hold each."""


@dataclass(frozen=True, slots=True)
class Held:
    """Megabytes (10^6 bytes).

    Attributes:
        rss: Resident, shared pages counted whole.
        pss: Resident, shared pages divided among those who share them.
    """

    rss: float
    pss: float


def held_by(pid: int) -> Held:
    """Read the kernel's sums for one process."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    sums = {
        name: int(rest.split()[0]) * 1024 / 1e6 for name, _, rest in (line.partition(":") for line in lines)
    }
    return Held(sums["Rss"], sums["Pss"])
