"""A job's progress on a terminal. rich may enter, when there is something to draw."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from gateway.client.records import Event, JobView

STATE_STYLES = {
    "waiting": "yellow",
    "queued": "cyan",
    "running": "blue",
    "succeeded": "green",
    "failed": "red",
    "canceled": "magenta",
    "expired": "magenta",
}


class ProgressLine:
    """One line that moves: model, state, bar, elapsed time. Draws on stderr, and only on a terminal."""

    def __init__(self, job: JobView) -> None:
        self._job = job
        self._display: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._display = _build_display()
            # An unknown share is drawn as a bar that pulses.
            self._task = self._display.add_task(self._describe(), total=None)
            self._display.start()
        return self

    def __call__(self, event: Event) -> None:
        """Draw what an event changed."""
        if self._display is None:
            return
        share = 1.0 if event.state == "succeeded" else event.progress
        known = {} if share is None else {"total": 1.0, "completed": share}
        self._display.update(self._task, description=self._describe(), **known)

    def __exit__(self, *_: object) -> None:
        if self._display is not None:
            self._display.stop()

    def _describe(self) -> str:
        style = STATE_STYLES.get(self._job.state, "white")
        return f"{self._job.model} [{style}]{self._job.state}[/]"


def _build_display() -> Any:
    from rich.console import Console  # noqa: PLC0415  a service that never draws never loads it
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True))
