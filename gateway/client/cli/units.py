"""How numbers and moments are written for a person. Standard library only."""

from __future__ import annotations

from datetime import datetime

MISSING = "—"
_UNITS = (("d", 86400.0, 48 * 3600.0), ("h", 3600.0, 7200.0), ("min", 60.0, 120.0))
"""Each unit, its seconds, and from how many on it is used."""


def span(seconds: float | None) -> str:
    """Seconds in the unit that fits, three digits; a dash for what is not known."""
    if seconds is None:
        return MISSING
    for unit, length, least in _UNITS:
        if seconds >= least:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} s"


def number(value: float | None) -> str:
    """Three digits, or a dash for what is not known."""
    return MISSING if value is None else f"{value:.3g}"


def percent(share: float | None) -> str:
    """A share of 1, in hundredths."""
    return MISSING if share is None else f"{share * 100:.3g} %"


_BYTES = ("B", "KiB", "MiB", "GiB", "TiB")


def taken(used: float | None, total: float | None) -> str:
    """Bytes used of so many, in one unit: `18.2/22.5 GiB`; a dash where neither is known."""
    if used is None and total is None:
        return MISSING
    most = max(used or 0, total or 0)
    step = min(len(_BYTES) - 1, max(0, int(most).bit_length() - 1) // 10)
    shown = [MISSING if size is None else f"{size / 1024**step:.3g}" for size in (used, total)]
    return f"{'/'.join(shown)} {_BYTES[step]}"


def count(number: int | None, noun: str) -> str:
    """`1 message`, `2 messages`."""
    return f"{MISSING if number is None else number} {noun}{'' if number == 1 else 's'}"


def clock(moment: str | None) -> str:
    """A moment of the API by the reader's own wall clock; --json has it in UTC."""
    if moment is None:
        return MISSING
    return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S")
