"""A graph that runs until it is told to stop."""

from __future__ import annotations

from typing import Any

from gpu_worker.handlers.images import Cutout


class Endless(Cutout):
    def warm_up(self) -> None:
        """Not needed: the first run takes as long as any."""

    def prepare(self, image: Any, job: Any) -> Any:  # type: ignore[override]  # it also wants the job
        self._job = job
        return super().prepare(image)

    def infer(self, items: list[Any]) -> list[Any]:
        while True:
            self._job.progress(0.5)  # again and again: whoever follows may come late
            super().infer(items)
