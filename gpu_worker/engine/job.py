"""What an algorithm sees of its job, and the errors it may raise. Standard library only."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable

_PROGRESS_EVERY_S = 0.1


class BadInputError(Exception):
    """The job's input is not what the algorithm takes: it fails at once, with this text for its sender."""


class BadOutputError(Exception):
    """The algorithm returned something other than its model.toml declares."""


class DeviceMissingError(Exception):
    """The device that was asked for is not there."""


class ProviderMissingError(DeviceMissingError):
    """This interpreter's packages cannot use the device: another model's may."""


class CanceledError(Exception):
    """The job was canceled while it ran."""


class Retry(Exception):
    """Run this job again later, as far as its attempts go.

    Attributes:
        after_s: Seconds to wait, or None for the ordinary backoff.
    """

    def __init__(
        self, message: str = "the algorithm asked for another try", *, after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.after_s = after_s


class Job:
    """Handed to a function or `prepare` that has a parameter named `job`.

    Attributes:
        id: The job's id.
    """

    Retry: ClassVar[type[Retry]] = Retry
    BadInput: ClassVar[type[BadInputError]] = BadInputError

    def __init__(self, job_id: str, report: Callable[[float], None]) -> None:
        self.id = job_id
        self._report = report
        self._reported_at = -math.inf
        self._canceled = threading.Event()

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked for the job's end; stop soon, or the process is killed."""
        return self._canceled.is_set()

    def cancel(self) -> None:
        """Note the wish for the job's end (Leveret calls this)."""
        self._canceled.set()

    def progress(self, fraction: float) -> None:
        """Tell the job's watchers how far it is, from 0 to 1; calls in quick succession are dropped."""
        if math.isnan(fraction):
            raise ValueError("progress must be a number from 0 to 1")
        now = time.monotonic()
        if fraction < 1 and now - self._reported_at < _PROGRESS_EVERY_S:
            return
        self._reported_at = now
        self._report(min(max(float(fraction), 0.0), 1.0))
