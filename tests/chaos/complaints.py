"""What the product's processes logged that no fault excuses. Imports nothing of the product."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

GRAVE = frozenset({"error", "critical"})
TRACEBACK = "Traceback (most recent call last)"
KNOWN = (
    # asyncpg calls statements off, and closes connections that are old, in tasks of its own, which nobody can
    # await: where the server ends such a connection in that moment, asyncio tells of the error when it
    # collects the task. The statement's own outcome was raised where it belongs, and the pool replaces the
    # connection. Only a task whose coroutine is the driver's: an exception of ours that passed through the
    # driver is none.
    ("Task exception was never retrieved", "/asyncpg/"),
)
"""What is forgiven: the marks that the event itself, not its traceback, must bear all of."""


def complaints(log: Iterable[str]) -> Iterator[str]:
    """The lines of a process's log that tell of a defect: a logged exception, or a bare traceback."""
    for line in log:
        if line.startswith(TRACEBACK) or ('"exception"' in line and _is_defect(line)):
            yield line.strip()


def _is_defect(line: str) -> bool:
    try:
        entry: dict[str, Any] = json.loads(line)
    except ValueError:
        return True  # no whole line: rather one too many
    event = str(entry.get("event"))
    forgiven = any(all(mark in event for mark in marks) for marks in KNOWN)
    return "exception" in entry and entry.get("level") in GRAVE and not forgiven
