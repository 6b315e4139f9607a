"""How a Prometheus finds this stack's processes: a file to start one with."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from deploy.local.applications import ROOT
from deploy.local.server import HOST

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

RULES = ROOT / "deploy" / "prometheus" / "leveret.rules.yml"
EVERY = "5s"


def write(folder: Path, variables: Mapping[str, str]) -> None:
    """Write `prometheus.yml` into the stack's folder: with the ports that it happens to have."""
    (folder / "prometheus.yml").write_text(
        json.dumps(_configuration(variables), indent=2) + "\n"
    )  # JSON is YAML


def _configuration(variables: Mapping[str, str]) -> dict[str, Any]:
    gateway, scaler = (f"{HOST}:{variables[f'LEVERET_{name}_ADMIN_PORT']}" for name in ("GATEWAY", "SCALER"))
    found: dict[str, dict[str, Any]] = {
        "leveret-gateway": {"static_configs": [{"targets": [gateway]}]},
        "leveret-scaler": {"static_configs": [{"targets": [scaler]}]},
        "leveret-worker": {
            "http_sd_configs": [{"url": f"http://{gateway}/targets", "refresh_interval": EVERY}]
        },
    }
    return {
        "global": {
            "scrape_interval": EVERY,
            "evaluation_interval": EVERY,
            "external_labels": {"runbook": "docs/runbook"},
        },
        "rule_files": [str(RULES)],
        "scrape_configs": [{"job_name": name, **discovery} for name, discovery in found.items()],
    }
