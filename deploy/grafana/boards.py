"""Panels into the JSON that Grafana imports (schema 38: 9.4 and later); its data source is chosen there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from deploy.grafana.panels import Board, Panel

FOLDER = Path(__file__).parent / "dashboards"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDE = 24
SIZES = {"stat": (3, 4), "timeseries": (12, 8)}


def written(board: Board) -> str:
    """The file's text."""
    return json.dumps(dashboard(board), indent=2) + "\n"


def dashboard(board: Board) -> dict[str, Any]:
    """One dashboard."""
    return {
        "uid": board.uid,
        "title": board.title,
        "tags": ["leveret"],
        "schemaVersion": 38,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [_source(), *(_choice(*each) for each in board.choices)]},
        "links": [
            {
                "type": "dashboards",
                "tags": ["leveret"],
                "title": "Leveret",
                "asDropdown": False,
                "keepTime": True,
            }
        ],
        "panels": list(_placed(board.panels)),
    }


def _source() -> dict[str, Any]:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}


def _choice(label: str, metric: str) -> dict[str, Any]:
    return {
        "name": label,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": f"label_values({metric}, {label})", "refId": label},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "current": {"text": "All", "value": "$__all"},
    }


def _placed(panels: Sequence[Panel]) -> Iterator[dict[str, Any]]:
    """From left to right, a new row where one is full or the height changes."""
    x = y = height = 0
    for number, panel in enumerate(panels, 1):
        w, h = SIZES[panel.kind]
        if x + w > WIDE or h != height:
            x, y, height = 0, y + height, h
        yield _panel(number, panel, {"x": x, "y": y, "w": w, "h": h})
        x += w


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "title": panel.title,
        "description": panel.about,
        "type": panel.kind,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, **_drawn(panel)}, "overrides": []},
        "options": _options(panel),
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": SOURCE,
                "expr": query.expr,
                "legendFormat": query.legend or "__auto",
            }
            for index, query in enumerate(panel.queries)
        ],
    }


def _drawn(panel: Panel) -> dict[str, Any]:
    if panel.kind == "stat":
        return {}
    stacking = {"mode": "normal" if panel.stacked else "none", "group": "A"}
    return {"custom": {"stacking": stacking, "fillOpacity": 20 if panel.stacked else 0}}


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "stat":
        return {"reduceOptions": {"calcs": ["lastNotNull"]}, "graphMode": "area"}
    return {
        "legend": {"displayMode": "list", "placement": "bottom"},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
