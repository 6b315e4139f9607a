"""Words for people. Pure: the standard library, no I/O."""

from __future__ import annotations

from collections.abc import Iterable

NAMED = 5


def listed(names: Iterable[str]) -> str:
    """The first few by name and how many more there are, so that a line stays one that can be read."""
    known = sorted(names)
    more = f" and {len(known) - NAMED} more" if len(known) > NAMED else ""
    return f"{', '.join(known[:NAMED])}{more}"


def seconds(value: float) -> str:
    """Whole ones, and of less than ten two figures: what takes a third of a second does not take none."""
    return f"{value:.0f} s" if value >= 9.5 else f"{value:.2g} s"  # noqa: PLR2004  from there two figures are whole
