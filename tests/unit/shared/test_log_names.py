"""A log line about a job names the job: that is what a person looks for first."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

SECRET = {"key", "password", "dsn", "url", "headers", "params", "inputs", "metadata"}
ROOT = Path(__file__).parents[3]
PROCESSES = ("gateway", "gpu_worker", "scaler", "shared")
LEVELS = {"debug", "info", "warning", "error", "exception"}
NAMED = {"job_id", "jobs"}
"""One job, or how many where a line is about several."""


def _lines() -> Iterator[tuple[str, str, set[str]]]:
    """Where, which event, which fields."""
    for room in PROCESSES:
        for path in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and _logs(node) and isinstance(node.args[0], ast.Constant):
                    where = f"{path.relative_to(ROOT)}:{node.lineno}"
                    yield where, str(node.args[0].value), {word.arg or "**" for word in node.keywords}


def _logs(call: ast.Call) -> bool:
    of = call.func
    return (
        isinstance(of, ast.Attribute)
        and of.attr in LEVELS
        and isinstance(of.value, ast.Name)
        and of.value.id == "log"
        and bool(call.args)
    )


LINES = list(_lines())


def test_there_are_lines_to_look_at() -> None:
    assert len(LINES) > 50
    assert any(event == "job.claimed" for _, event, _ in LINES)


def test_a_line_about_a_job_names_it() -> None:
    nameless = [
        f"{where} {event}" for where, event, fields in LINES if event[:4] == "job." and not fields & NAMED
    ]
    assert nameless == []


def test_no_line_has_a_field_for_what_is_secret() -> None:
    told = [f"{where} {fields & SECRET}" for where, _, fields in LINES if fields & SECRET]
    assert told == []
