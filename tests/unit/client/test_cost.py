"""`leveret cost` against a gateway: what it asks and what it prints."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from gateway.client import Client
from gateway.client.cli.app import run
from gateway.client.cli.cost import amount
from tests.fakes.gateway import KEY, FakeGateway

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def target(gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeGateway:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("LEVERET_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LEVERET_URL", gateway.url)
    monkeypatch.setenv("LEVERET_API_KEY", KEY)
    return gateway


def test_rows_and_their_total_are_shown(target: FakeGateway, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["cost", "--by", "tenant"]) == 0

    heading, row, whole, times = capsys.readouterr().out.splitlines()
    columns = "tenant jobs attempts machine GPU used wasted idle paid used/paid per 1,000 jobs"
    assert heading.split() == columns.split()
    cells = ["1200", "1260", "9.57", "h", "9.57", "h", "3.73", "0.013", "1.24", "4.97", "75%", "4.15"]
    assert row.split() == ["acme", *cells]
    assert whole.split() == ["total", *cells]
    assert times.startswith("EUR, from 2026-11-15")


def test_what_is_unknown_is_a_dash_and_told(target: FakeGateway, capsys: pytest.CaptureFixture[str]) -> None:
    nothing = dict.fromkeys(("used", "wasted", "idle", "paid", "per_1000_jobs"))
    row = {**target.desk.cost["rows"][0], **nothing, "key": None, "unpriced_s": 7200.0}
    target.desk.cost |= {"rows": [row], "total": row, "partial": True}

    assert run(["cost"]) == 0

    _, shown, _, _, left_out, partial = capsys.readouterr().out.splitlines()
    assert shown.split()[-6:] == ["\u2014"] * 6
    assert shown.startswith("(nobody)")
    assert left_out == "left out, for no price is known: 2 h of machine time"
    assert partial == "not all rows are shown"


def test_json_is_the_gateways_own(target: FakeGateway, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["cost", "--by", "day", "-n", "5", "--json"]) == 0

    assert json.loads(capsys.readouterr().out) == target.desk.cost
    assert {name: target.desk.asked[0][name] for name in ("by", "limit")} == {"by": "day", "limit": "5"}


@pytest.mark.parametrize(("text", "hours"), [("12h", 12), ("7d", 168), ("4w", 672)])
def test_a_while_ago_is_counted_from_now(target: FakeGateway, text: str, hours: int) -> None:
    assert run(["cost", "--since", text]) == 0

    asked = datetime.fromisoformat(target.desk.asked[0]["since"])
    assert abs(datetime.now(UTC) - timedelta(hours=hours) - asked) < timedelta(minutes=5)
    assert "until" not in target.desk.asked[0]


def test_moments_are_passed_on_in_utc(target: FakeGateway) -> None:
    assert run(["cost", "--since", "2026-11-01T02:00:00+02:00", "--until", "2026-11-02T00:00:00Z"]) == 0

    assert target.desk.asked[0]["since"] == "2026-11-01T00:00:00+00:00"
    assert target.desk.asked[0]["until"] == "2026-11-02T00:00:00+00:00"


@pytest.mark.parametrize("text", ["yesterday", "7", "0d", "d", "-1d", "99999d"])
def test_no_moment_is_a_wrong_usage(
    target: FakeGateway, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    assert run(["cost", f"--since={text}"]) == 2
    assert "--since" in capsys.readouterr().err
    assert not target.desk.asked


def test_the_client_asks_as_well(target: FakeGateway) -> None:
    with Client(target.url, KEY) as client:
        assert client.cost("model")["currency"] == "EUR"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (None, "\u2014"),
        ("0", "0.00"),
        ("1234.5", "1,234.50"),
        ("0.25", "0.25"),
        ("0.0130001", "0.013"),
        ("0.00001234", "0.000012"),
        ("-0.00000001", "-0.00000001"),
    ],
)
def test_money_is_written_for_a_person(text: str | None, shown: str) -> None:
    assert amount(text) == shown
