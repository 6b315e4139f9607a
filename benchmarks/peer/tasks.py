"""The Celery application: one no-op task, one message at a time, acknowledged late."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery  # type: ignore[import-untyped]

MAX_PRIORITY = 10

app = Celery(
    "peer",
    broker=os.environ["BENCH_PEER_BROKER"],
    backend=os.environ["BENCH_PEER_RESULTS"],
    set_as_current=False,
)
app.conf.update(
    worker_prefetch_multiplier=1,
    worker_concurrency=1,
    task_acks_late=True,
    task_track_started=True,
    task_default_queue="noop",
    task_queues={"noop": {"queue_arguments": {"x-max-priority": MAX_PRIORITY}}},
    task_default_delivery_mode="persistent",
    broker_transport_options={"confirm_publish": os.environ.get("BENCH_PEER_CONFIRMS") == "1"},
    broker_connection_retry_on_startup=True,
)


def _noop(value: Any) -> Any:
    return value


noop = app.task(name="noop")(_noop)
