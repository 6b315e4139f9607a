"""Submitting to Celery over HTTP in the usual way: plain `def` endpoints, run in FastAPI's threads."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.peer.tasks import noop

PRIORITY = 5
WAIT_S = 30

app = FastAPI()


class Submission(BaseModel):
    """What a client sends."""

    value: Any


@app.post("/jobs", status_code=202)
def submit(submission: Submission) -> dict[str, str]:
    """Queue the task; its id is the answer."""
    return {"id": noop.apply_async((submission.value,), priority=PRIORITY).id, "state": "queued"}


@app.post("/jobs/wait")
def submit_and_wait(submission: Submission) -> dict[str, Any]:
    """Queue the task and hold the answer until its result is there."""
    sent = noop.apply_async((submission.value,), priority=PRIORITY)
    return {"id": sent.id, "state": "succeeded", "result": sent.get(timeout=WAIT_S)}
