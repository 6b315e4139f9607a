"""The process fleet's memory on disk, by which a scaler that was restarted knows its workers again."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scaler.fleet.system import Process, boot_id


class Book:
    """Worker ids and their processes, and which ended a short while ago, in one small file.

    Args:
        file: Where; its folder is made.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep another scaler of this machine out while workers are started."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def read(self) -> dict[str, Process]:
        """What was written last; nothing when the machine was started anew since, or the file is damaged."""
        try:
            return {str(name): Process(**entry) for name, entry in self._content()["workers"].items()}
        except (KeyError, TypeError, AttributeError):
            return {}

    def ended(self) -> dict[str, float]:
        """The workers that ended, and when on the machine's monotonic clock."""
        try:
            return {str(name): float(at) for name, at in self._content()["ended"].items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            return {}

    def _content(self) -> dict[str, Any]:
        try:
            content = json.loads(self._file.read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return content if isinstance(content, dict) and content.get("boot") == boot_id() else {}

    def write(self, workers: Mapping[str, Process], ended: Mapping[str, float] | None = None) -> None:
        """Replace the file, whole or not at all."""
        entries = {name: {"pid": entry.pid, "started": entry.started} for name, entry in workers.items()}
        content = {"boot": boot_id(), "workers": entries, "ended": dict(ended or {})}
        draft = self._file.with_suffix(".new")
        draft.write_text(json.dumps(content, indent=1))
        draft.replace(self._file)
