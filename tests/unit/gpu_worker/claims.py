"""Claims and models for tests without servers."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from uuid_utils.compat import uuid7

from shared.catalog import Model
from shared.jobs import Claim

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def claim(**fields: Any) -> Claim:
    defaults: dict[str, Any] = {
        "id": uuid7(),
        "tenant": "acme",
        "model": "echo",
        "model_version": "1",
        "queue": "quick",
        "priority": 5,
        "attempt": 1,
        "max_attempts": 3,
        "fence": 1,
        "seq": 2,
        "timeout_s": 60.0,
        "inputs": {"text": {"json": "hello"}},
        "params": {},
        "metadata": {},
        "destinations": {},
        "retry_of": None,
        "traceparent": None,
        "created_at": NOW,
        "queued_at": NOW,
        "started_at": NOW,
    }
    return Claim(**defaults | fields)


def model(**fields: Any) -> Model:
    defaults: dict[str, Any] = {
        "name": "echo",
        "version": "1",
        "queue": "quick",
        "backend": "python",
        "handler": "echo:echo",
        "inputs": {"text": {"kind": "text"}},
        "outputs": {"text": {"kind": "text"}},
        "folder": Path("/nowhere/echo"),
    }
    return Model(**defaults | fields)
