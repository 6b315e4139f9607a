"""Before: a GPU stack as teams build it with Celery. Pictures in S3, tasks in RabbitMQ, results in Redis.

celery -A examples.from_celery.before.tasks worker -P prefork -c 1 -Q matting
"""

from __future__ import annotations

import io
import os
import time
from typing import Any

import boto3
import onnxruntime
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from celery import Celery
from celery.signals import worker_process_init
from PIL import Image

from examples.from_celery import matting

BUCKET = os.environ["MATTING_BUCKET"]

app = Celery("matting", broker=os.environ["MATTING_BROKER"], backend=os.environ["MATTING_RESULTS"])
app.conf.update(
    # The job shall survive its worker, and nobody shall hoard messages.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    # Ten priorities, on a queue of its own.
    task_default_queue="matting",
    task_queue_max_priority=10,
    task_default_priority=5,
    # What hangs is killed.
    task_soft_time_limit=50,
    task_time_limit=60,
    # Somebody will ask for the result, for a week.
    task_track_started=True,
    result_expires=7 * 24 * 3600,
    result_extended=True,
    # A publish is not over before the broker has it.
    broker_transport_options={"confirm_publish": True},
    broker_connection_retry_on_startup=True,
    # RabbitMQ closes the channel of a worker that holds a message for longer than its consumer_timeout.
    worker_cancel_long_running_tasks_on_connection_loss=True,
)

_loaded: dict[str, Any] = {}
_seen: set[str] = set()


@worker_process_init.connect
def load(**_: Any) -> None:
    """Once per child of the pool, and after the fork: CUDA does not survive one."""
    # Where CUDA or one of its libraries is missing, this computes on the CPU: a warning at most tells.
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    _loaded["session"] = onnxruntime.InferenceSession(os.environ["MATTING_WEIGHTS"], providers=providers)
    _loaded["s3"] = boto3.client(
        "s3",
        endpoint_url=os.environ.get("MATTING_S3"),
        config=Config(s3={"addressing_style": "path"}, connect_timeout=5, read_timeout=30),
    )


@app.task(
    bind=True,
    autoretry_for=(matting.DeviceBusyError, BotoCoreError),
    retry_backoff=1,
    retry_backoff_max=60,
    retry_jitter=True,
    max_retries=2,
)
def matte(self: Any, key: str, *, hold_s: float = 0.0, flaky: bool = False) -> dict[str, Any]:
    """The mask of a picture in S3, put beside it; `hold_s` and `flaky` are for showing limits and retries."""
    picture = Image.open(io.BytesIO(_get(key)))
    self.update_state(state="PROGRESS", meta={"progress": 0.25})
    if flaky and self.request.id not in _seen:
        _seen.add(self.request.id)
        raise matting.DeviceBusyError("out of memory, this once")
    time.sleep(hold_s)
    (raw,) = _loaded["session"].run([matting.OUTPUT], {matting.INPUT: matting.tensor_of(picture)})
    mask = matting.mask_of(raw, picture.size)
    made = f"{key}.{self.request.id}.png"
    _put(made, mask)
    return {"mask": made, "width": mask.width, "height": mask.height}


@app.task
def coverage(made: dict[str, Any]) -> float:
    """How much of a picture stands out, by its mask: the second link of a chain."""
    return matting.share_of(Image.open(io.BytesIO(_get(made["mask"]))))


@app.task
def mean(shares: list[float]) -> float:
    """What a chord ends in."""
    return round(sum(shares) / len(shares), 6)


def _get(key: str) -> bytes:
    return bytes(_loaded["s3"].get_object(Bucket=BUCKET, Key=key)["Body"].read())


def _put(key: str, image: Image.Image) -> None:
    file = io.BytesIO()
    image.save(file, "PNG")
    _loaded["s3"].put_object(Bucket=BUCKET, Key=key, Body=file.getvalue(), ContentType="image/png")
