"""What `leveret doctor` found: a line, and what to do about it. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        name: What was looked at.
        ok: True, False, or None for what could not be looked at from here.
        found: What was seen.
        fix: What to do, where there is something to do.
    """

    name: str
    ok: bool | None
    found: str
    fix: str = ""


def well(name: str, found: str) -> Finding:
    """Nothing to do."""
    return Finding(name, ok=True, found=found)


def wrong(name: str, found: str, fix: str) -> Finding:
    """Something to fix."""
    return Finding(name, ok=False, found=found, fix=fix)


def unseen(name: str, found: str) -> Finding:
    """Not to be seen from here, or no fault for certain."""
    return Finding(name, ok=None, found=found)
