"""Prometheus' own tool, as Debian packages it: a missing one is a skip on a laptop and a failure in CI."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.stack import ROOT, skip_or_fail

PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = PROMETHEUS / "leveret.rules.yml"
PROMTOOL_S = 60


def promtool(*words: str | Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool")
    if program is None:
        skip_or_fail("promtool is not installed: it is in Debian's package prometheus (make dev)")
    command = [str(program), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PROMTOOL_S, check=False)


@cache
def groups() -> tuple[dict[str, Any], ...]:
    return tuple(yaml.safe_load(RULES.read_text())["groups"])


def alerts() -> list[dict[str, Any]]:
    """Every alert rule; two may have one name."""
    return [rule for group in groups() for rule in group["rules"] if "alert" in rule]
