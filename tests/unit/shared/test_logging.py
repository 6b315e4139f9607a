"""Log lines: one JSON object each, whatever is in them."""

from __future__ import annotations

import json
import subprocess
import sys

SAID = """
import logging, structlog
from shared.settings import Log
from shared.telemetry.logging import configure_logging
configure_logging(Log(), service="test")
log = structlog.get_logger()
log.info("plain", job_id="1")
log.info("odd", said="x \\ud800", thing=object(), several={1: "one"})
log.debug("not shown")
logging.getLogger("driver").warning("from a driver")
try: raise ValueError("it broke")
except ValueError: log.exception("failed")
"""


def test_every_line_is_json_with_its_level_and_service() -> None:
    ran = subprocess.run([sys.executable, "-c", SAID], capture_output=True, text=True, check=True, timeout=60)
    lines = [json.loads(line) for line in ran.stderr.splitlines()]
    assert [line["event"] for line in lines] == ["plain", "odd", "from a driver", "failed"]
    assert {line["service"] for line in lines} == {"test"}
    assert [line["level"] for line in lines] == ["info", "info", "warning", "error"]
    assert "it broke" in lines[3]["exception"]
