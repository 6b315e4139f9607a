"""The producer while a queue moves: one switch, both ways.

    MATTING_ON=leveret python -m examples.from_celery.moving KEY ORDER

The switch is read at each submit, so that moving on and moving back is a matter of an environment or a flag.
"""

from __future__ import annotations

import os
import sys

BUCKET = os.environ["MATTING_BUCKET"]


def submit(key: str, order: str, *, priority: int = 5) -> str:
    """Have the mask of a picture made, by whichever side the queue is on; returns the id there.

    Args:
        key: Of the picture in the bucket.
        order: What this is for; asking twice for one order makes one job with Leveret, two tasks with Celery.
        priority: 0 to 10, 10 first, on either side.
    """
    if os.environ.get("MATTING_ON") == "leveret":
        return to_leveret(key, order, priority)
    return to_celery(key, priority)


def to_celery(key: str, priority: int) -> str:
    """As before."""
    from examples.from_celery.before.tasks import matte  # noqa: PLC0415  goes away with Celery

    return str(matte.apply_async((key,), priority=priority).id)


def to_leveret(key: str, order: str, priority: int) -> str:
    """As from now on."""
    from gateway.client import Client  # noqa: PLC0415  not needed before

    place = {"mask": {"uri": f"s3://{BUCKET}/{key}.{order}.png"}}
    with Client() as client:
        job = client.submit(
            "matte", image=f"s3://{BUCKET}/{key}", priority=priority, outputs=place, idempotency_key=order
        )
    return job.id


if __name__ == "__main__":
    print(submit(sys.argv[1], sys.argv[2]))
