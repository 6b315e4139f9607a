"""Each alert, by promtool: it fires, with its words, and it does not where it should not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.stack import ROOT
from tests.unit.deploy.alert_cases import CASES, Case
from tests.unit.deploy.promtool import PROMETHEUS, RULES, alerts, promtool

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PAGES = ROOT / "docs" / "runbook"
EXTERNAL = {"runbook": "https://here/runbook"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_alert_fires_when_it_should_and_only_then(case: Case, tmp_path: Path) -> None:
    file = tmp_path / "case.yml"
    file.write_text(yaml.safe_dump(_as_promtool_wants_it(case)))
    done = promtool("test", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr


def _as_promtool_wants_it(case: Case) -> dict[str, Any]:
    expected = [] if case.fires is None else [_firing(case)]
    return {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "external_labels": EXTERNAL,
                "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
                "alert_rule_test": [{"eval_time": case.at, "alertname": case.alert, "exp_alerts": expected}],
            }
        ],
    }


def _firing(case: Case) -> dict[str, Any]:
    rule = next(each for each in alerts() if each["alert"] == case.alert)
    labels = {**(case.fires or {}), **rule["labels"]}
    told = {name: _expanded(text, labels) for name, text in rule["annotations"].items()}
    return {"exp_labels": labels, "exp_annotations": told}


def _expanded(text: str, labels: Mapping[str, str]) -> str:
    known = {"labels": labels, "externalLabels": EXTERNAL}
    return re.sub(r"\{\{ \$(\w+)\.(\w+) \}\}", lambda found: known[found[1]][found[2]], text)


def test_every_alert_is_seen_firing_and_silent() -> None:
    names = {rule["alert"] for rule in alerts()}
    assert {case.alert for case in CASES if case.fires is not None} == names
    assert {case.alert for case in CASES if case.fires is None} == names


def test_every_alert_has_its_severity_words_and_page() -> None:
    for rule in alerts():
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
        page = PAGES / rule["annotations"]["runbook_url"].rpartition("/")[2]
        assert f"`{rule['alert']}`" in page.read_text(), page


def test_promtool_understands_configuration_and_rules() -> None:
    for words in (
        ("check", "config", PROMETHEUS / "prometheus.yml"),
        ("check", "rules", "--lint-fatal", RULES),
    ):
        done = promtool(*words)
        assert done.returncode == 0, done.stdout + done.stderr
