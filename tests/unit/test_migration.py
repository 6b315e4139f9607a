"""docs/migrate-from-celery.md against the installed Celery: no setting is forgotten. No server."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from celery.app.defaults import NAMESPACES, flatten  # type: ignore[import-untyped]
from celery.bin.beat import beat  # type: ignore[import-untyped]
from celery.bin.worker import worker  # type: ignore[import-untyped]
from celery.worker.control import Panel  # type: ignore[import-untyped]
from kombu.transport.redis import Channel

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "migrate-from-celery.md").read_text()
ROWS = re.findall(r"^\| (.+?) \| (.*?) \|$", PAGE, re.MULTILINE)
NAMED = {word for left, _ in ROWS for code in re.findall(r"`([^`]+)`", left) for word in code.split()}


def test_every_setting_of_celery_has_a_row() -> None:
    settings = {name for name, _ in flatten(NAMESPACES)}
    assert len(settings) > 200
    assert settings - NAMED == set()


@pytest.mark.parametrize("command", [worker, beat], ids=["worker", "beat"])
def test_every_option_of_the_commands_has_a_row(command: object) -> None:
    options = {word for each in command.params for word in (*each.opts, *each.secondary_opts)}  # type: ignore[attr-defined]
    assert options - NAMED == set()


def test_every_option_of_the_redis_transport_has_a_row() -> None:
    assert set(Channel.from_transport_options) - NAMED == set()


def test_every_order_to_a_worker_has_a_row() -> None:
    assert {str(name) for name in Panel.meta} - NAMED == set()


def test_every_row_says_what_it_is_here() -> None:
    assert [left for left, right in ROWS if not right.strip()] == []


def test_a_forgotten_setting_would_be_noticed() -> None:
    assert "task_acks_late" in NAMED
    assert "task_acks_never" not in NAMED
