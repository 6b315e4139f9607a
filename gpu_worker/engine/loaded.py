"""Which models an engine holds, and which it may let go to stay within its memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpu_worker.engine.calls import LoadReport


class Loaded:
    """The models of one process, the one used longest ago first.

    Args:
        budget_mb: What they may hold together; 0 for no limit.
    """

    def __init__(self, budget_mb: float) -> None:
        self._budget_mb = budget_mb
        self._reports: dict[str, LoadReport] = {}
        self._users: Counter[str] = Counter()
        self._known_mb: dict[str, float] = {}

    def __contains__(self, ref: str) -> bool:
        """Whether it is loaded."""
        return ref in self._reports

    def __getitem__(self, ref: str) -> LoadReport:
        """How it was loaded."""
        return self._reports[ref]

    def reports(self) -> dict[str, LoadReport]:
        """How each was loaded."""
        return dict(self._reports)

    def add(self, ref: str, report: LoadReport) -> None:
        """It is loaded now."""
        self._reports[ref] = report
        self._known_mb[ref] = report.memory_mb

    def drop(self, ref: str) -> None:
        """It is loaded no more."""
        self._reports.pop(ref, None)

    def clear(self) -> None:
        """The process has ended."""
        self._reports.clear()

    def use(self, ref: str) -> None:
        """A job needs it from now on."""
        self._users[ref] += 1
        if ref in self._reports:
            self._reports[ref] = self._reports.pop(ref)

    def leave(self, ref: str) -> None:
        """The job has ended."""
        self._users[ref] -= 1

    def surplus(self, coming: str, size_mb: float) -> Iterator[str]:
        """What has to go so that `coming` fits: nothing that is in use, longest unused first.

        Args:
            coming: A model about to be loaded, or just loaded.
            size_mb: What it will hold, as far as one can know; its last load knows better.
        """
        if not self._budget_mb:
            return
        wanted = self._known_mb.get(coming, size_mb)
        for ref in [ref for ref in self._reports if ref != coming]:
            if wanted + self.held_mb(but=coming) <= self._budget_mb:
                return
            if not self._users[ref]:
                yield ref

    def held_mb(self, *, but: str = "") -> float:
        """What they took when they were loaded, all but one."""
        return sum(report.memory_mb for ref, report in self._reports.items() if ref != but)
