"""Job records for tests against real servers."""

from __future__ import annotations

from typing import Any

from uuid_utils.compat import uuid7

from shared.jobs import NewJob


def new_job(**fields: Any) -> NewJob:
    defaults: dict[str, Any] = {
        "id": uuid7(),
        "tenant": "acme",
        "model": "cutout",
        "model_version": "1",
        "queue": "images",
        "priority": 5,
        "max_attempts": 3,
        "timeout_s": 60.0,
        "inputs": {"image": {"uri": "s3://leveret/acme/uploads/x"}},
        "params": {"size": 256},
        "body_digest": b"\1" * 32,
    }
    return NewJob(**defaults | fields)
