"""The errors of the local stack: each one's text is what the console prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LAST_LINES = 15


class StackError(Exception):
    """Something the person at the console must read; never shown with a traceback."""


class MissingProgramError(StackError):
    """A server's program is not installed."""


class NotReadyError(StackError):
    """A server ended or stayed silent; carries the end of its log and where the log is."""

    def __init__(self, what: str, log: Path) -> None:
        super().__init__(f"{what}\n{_tail(log)}\n  the whole log: {log}")


def _tail(log: Path) -> str:
    if not log.exists():
        return "  (it wrote no log)"
    lines = log.read_text(errors="replace").splitlines()[-LAST_LINES:]
    return "\n".join(f"  | {line}" for line in lines)
