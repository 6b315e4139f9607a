"""The process fleet's memory on disk, by which a scaler that was restarted knows its workers again."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from scaler.fleet.system import Process, boot_id


class Book:
    """Worker ids and their processes, in one small file.

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
            content = json.loads(self._file.read_bytes())
            if content["boot"] != boot_id():
                return {}
            return {str(name): Process(**entry) for name, entry in content["workers"].items()}
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def write(self, workers: Mapping[str, Process]) -> None:
        """Replace the file, whole or not at all."""
        entries = {name: {"pid": entry.pid, "started": entry.started} for name, entry in workers.items()}
        draft = self._file.with_suffix(".new")
        draft.write_text(json.dumps({"boot": boot_id(), "workers": entries}, indent=1))
        draft.replace(self._file)
