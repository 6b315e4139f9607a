"""Before: all that the team's services ask of Celery. `python -m examples.from_celery.before.calls KEY`.

Prints one JSON document; `after/calls.py` prints the same one.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from celery import chain, chord
from celery.exceptions import SoftTimeLimitExceeded, TaskRevokedError, TimeLimitExceeded, TimeoutError  # noqa: A004  Celery's own

from examples.from_celery.before.tasks import app, coverage, matte, mean

PATIENCE_S = 90
DELAY_S = 1.5
UNTOLD_S = 5


def plain(key: str) -> dict[str, Any]:
    """Submit, and poll for the result."""
    sent = matte.apply_async((key,), priority=7)
    while not sent.ready():
        time.sleep(0.1)
    return dict(sent.get())


def delayed(key: str) -> bool:
    """Not before so many seconds: the worker holds the message until then."""
    began = time.monotonic()
    matte.apply_async((key,), countdown=DELAY_S).get(timeout=PATIENCE_S)
    return time.monotonic() - began >= DELAY_S


def linked(key: str) -> float:
    """One task after the other, the second with the first one's result."""
    return float(chain(matte.s(key), coverage.s()).apply_async().get(timeout=PATIENCE_S))


def gathered(keys: list[str]) -> float:
    """Several side by side, and one when all are done."""
    header = [chain(matte.s(key), coverage.s()) for key in keys]
    return float(chord(header)(mean.s()).get(timeout=PATIENCE_S))


def ordered(key: str) -> list[str]:
    """The higher priority first, behind a busy worker."""
    busy = _started(matte.apply_async((key,), {"hold_s": 1.5}))
    low, high = (matte.apply_async((key,), priority=priority) for priority in (1, 9))
    ended = {name: sent for name, sent in (("low", low), ("high", high)) if sent.get(timeout=PATIENCE_S)}
    busy.get(timeout=PATIENCE_S)
    return sorted(ended, key=lambda name: ended[name].date_done)


def expired(key: str) -> str:
    """Not worth it any more when it was not started in time."""
    busy = _started(matte.apply_async((key,), {"hold_s": 2.5}))
    sent = matte.apply_async((key,), expires=1)
    busy.get(timeout=PATIENCE_S)
    try:
        sent.get(timeout=UNTOLD_S)
    except (TaskRevokedError, TimeoutError):
        # RabbitMQ drops the message by itself, and then the result is PENDING for ever: nobody is told.
        return "expired"
    return "ran"


def canceled(key: str) -> str:
    """Ended while it runs: the child of the pool is killed."""
    sent = _started(matte.apply_async((key,), {"hold_s": 40}))
    app.control.revoke(sent.id, terminate=True, signal="SIGKILL")
    try:
        sent.get(timeout=PATIENCE_S)
    except TaskRevokedError:
        return "canceled"
    return "ran"


def timed_out(key: str) -> str:
    """Ended at its time limit: the soft one raises in the task, the hard one kills the child of the pool.

    The hard limit's clock starts when the soft one has passed, so a hard one alone does nothing below it.
    """
    sent = matte.apply_async((key,), {"hold_s": 40}, soft_time_limit=2, time_limit=4)
    try:
        sent.get(timeout=PATIENCE_S)
    except (SoftTimeLimitExceeded, TimeLimitExceeded):
        return "timeout"
    return "ran"


def retried(key: str) -> str:
    """Tried again by itself after an error that passes."""
    sent = matte.apply_async((key,), {"flaky": True})
    sent.get(timeout=PATIENCE_S)
    return f"{sent.retries + 1} attempts"


def _started(sent: Any) -> Any:
    while sent.state == "PENDING":
        time.sleep(0.05)
    return sent


def main() -> None:
    """All of it, on one picture."""
    key = sys.argv[1]
    made = plain(key)
    told = {
        "mask": made.pop("mask"),
        "plain": made,
        "delayed": delayed(key),
        "linked": linked(key),
        "gathered": gathered([key, key]),
        "ordered": ordered(key),
        "expired": expired(key),
        "retried": retried(key),
        "timed_out": timed_out(key),
        "canceled": canceled(key),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
