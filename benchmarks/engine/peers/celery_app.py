"""Celery: the no-op application of `make bench`, and a task that uses the simulated device as tasks do.

The task takes its input out of S3 and puts its output there by boto3, step by step, in the pool's child.
"""

from __future__ import annotations

import os
from functools import cache
from types import SimpleNamespace
from typing import Any

import boto3  # type: ignore[import-untyped]
from botocore.config import Config

from benchmarks.engine.models.device.device import Device
from benchmarks.peer.tasks import MAX_PRIORITY, app

__all__ = ["app", "device"]

_DEVICE_QUEUE = {"queue_arguments": {"x-max-priority": MAX_PRIORITY}}
app.conf.task_queues = {**app.conf.task_queues, "device": _DEVICE_QUEUE}


@cache
def _s3() -> Any:
    """One client for the life of the pool's child, made after the fork."""
    return boto3.client(
        "s3",
        endpoint_url=os.environ["BENCH_PEER_S3_ENDPOINT"],
        region_name=os.environ["BENCH_PEER_S3_REGION"],
        aws_access_key_id=os.environ["BENCH_PEER_S3_ACCESS_KEY"],
        aws_secret_access_key=os.environ["BENCH_PEER_S3_SECRET_KEY"],
        config=Config(s3={"addressing_style": "path"}),
    )


@cache
def _handler() -> Device:
    handler = Device()
    handler.load(SimpleNamespace(folder=os.environ["BENCH_PEER_DEVICE"]))
    return handler


def _device(task: Any, key: str, hold_ms: float) -> str:
    bucket = os.environ["BENCH_PEER_S3_BUCKET"]
    data = _s3().get_object(Bucket=bucket, Key=key)["Body"].read()
    item = _handler().prepare(data=data, hold_ms=hold_ms)
    (raw,) = _handler().infer([item])
    made = f"peer/{task.request.id}"
    _s3().put_object(Bucket=bucket, Key=made, Body=_handler().finish(item, raw))
    return made


device = app.task(name="device", bind=True)(_device)
