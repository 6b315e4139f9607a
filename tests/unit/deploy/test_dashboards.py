"""Grafana's dashboards: as they are written down, importable anywhere, of metrics that exist."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from deploy.grafana.boards import FOLDER, SOURCE, written
from deploy.grafana.panels import BOARDS
from tests.stack import ROOT
from tests.unit.deploy.promtool import groups

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deploy.grafana.panels import Board

METRIC = re.compile(r"\bleveret_\w+")
RECORDED = re.compile(r"\bleveret:[\w:]+")
PAGE = (ROOT / "docs" / "metrics.md").read_text()


def _known() -> set[str]:
    named = set(re.findall(r"^\| `(leveret_\w+)` \| (\w+)", PAGE, re.MULTILINE))
    parts = {
        f"{name}_{part}" for name, kind in named if kind == "histogram" for part in ("bucket", "sum", "count")
    }
    return {name for name, kind in named if kind != "histogram"} | parts


def _rules() -> Iterator[dict[str, Any]]:
    for group in groups():
        yield from group["rules"]


RECORDS = {rule["record"] for rule in _rules() if "record" in rule}


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_the_json_is_what_the_tables_say(board: Board) -> None:
    assert (FOLDER / f"{board.uid}.json").read_text() == written(board), "run python -m deploy.grafana"


def test_no_dashboard_is_left_over() -> None:
    assert {file.stem for file in FOLDER.iterdir()} == {board.uid for board in BOARDS}


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_a_dashboard_is_importable_anywhere(board: Board) -> None:
    shown = json.loads((FOLDER / f"{board.uid}.json").read_text())
    assert "id" not in shown
    variables = {each["name"]: each for each in shown["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert {json.dumps(panel["datasource"]) for panel in shown["panels"]} == {json.dumps(SOURCE)}
    used = {
        name
        for panel in shown["panels"]
        for t in panel["targets"]
        for name in re.findall(r"\$(\w+)", t["expr"])
    }
    assert used <= set(variables) | {"__rate_interval"}
    assert set(variables) - {"datasource"} <= used
    places = [tuple(panel["gridPos"].values()) for panel in shown["panels"]]
    assert len({(x, y) for x, y, _, _ in places}) == len(places)
    assert all(x + w <= 24 for x, _, w, _ in places)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_panels_show_metrics_that_exist(board: Board) -> None:
    text = " ".join(query.expr for panel in board.panels for query in panel.queries)
    assert set(METRIC.findall(text)) <= _known()
    assert set(RECORDED.findall(text)) <= RECORDS


def test_rules_are_of_metrics_that_exist() -> None:
    text = " ".join(rule["expr"] for rule in _rules())
    assert set(METRIC.findall(text)) <= _known()
    assert set(RECORDED.findall(text)) <= RECORDS
