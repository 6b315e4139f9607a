"""`leveret queues`, `workers` and `scaler` against a gateway: what they print, send, and how they exit."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from gateway.client import Client
from gateway.client.cli.app import run
from gateway.client.cli.explain import tell
from gateway.client.cli.units import span
from tests.fakes.gateway import KEY, FakeGateway
from tests.fakes.operator_desk import DECISION, WORKER

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EVERY = [
    ["queues"],
    ["queues", "pause", "images"],
    ["queues", "resume", "images"],
    ["keys"],
    ["keys", "create", "ci"],
    ["keys", "revoke", "0198-k"],
    ["workers"],
    ["workers", "drain", "images-1"],
    ["scaler"],
    ["scaler", "explain", "images"],
    ["scaler", "set", "images", "--min", "1"],
    ["scaler", "pause", "images"],
    ["scaler", "resume", "images"],
]


@pytest.fixture
def target(gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeGateway:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("LEVERET_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LEVERET_URL", gateway.url)
    monkeypatch.setenv("LEVERET_API_KEY", KEY)
    gateway.desk.role = "operator"
    return gateway


@pytest.fixture
def out(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    return lambda: capsys.readouterr().out


@pytest.fixture
def err(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    return lambda: capsys.readouterr().err


def test_queues_tell_what_waits_and_who_works(target: FakeGateway, out: Callable[[], str]) -> None:
    target.desk.queues[0]["scaler"] = {"min": None, "max": 8, "paused": True}

    assert run(["queues"]) == 0

    heading, row = out().splitlines()
    assert " ".join(heading.split()) == (
        "queue waiting high normal low oldest running ended/min done in workers scaler"
    )
    assert " ".join(row.split()) == (
        "images 12 2 10 0 2.52 min 2 4.25 — 2 ready (1 busy), 1 starting max 8, paused"
    )


def test_a_queue_is_held_and_let_go(target: FakeGateway, out: Callable[[], str]) -> None:
    assert run(["queues", "pause", "images"]) == 0
    assert out() == ("queue images is paused: nothing of it is started, what runs goes on; 12 jobs waiting\n")
    assert run(["queues"]) == 0
    assert "images (paused)" in out()
    assert run(["queues", "resume", "images"]) == 0
    assert out() == "queue images goes on; 12 jobs waiting\n"
    assert run(["queues", "pause", "nowhere"]) == 3


def test_keys_are_shown_made_and_revoked(
    target: FakeGateway, out: Callable[[], str], err: Callable[[], str]
) -> None:
    assert run(["keys"]) == 0
    row = " ".join(out().splitlines()[1].split())
    assert row.startswith("0198-k acme laptop (yours) operator lev_AbCd…")
    # A new one is all that is printed
    assert run(["keys", "create", "ci", "--tenant", "acme", "--expires", "30d"]) == 0
    assert out() == f"lev_{'n' * 43}\n"
    assert target.desk.said == [{"name": "ci", "role": "user", "tenant": "acme", "expires_in_s": 2592000}]
    assert run(["keys", "create", "ci", "--expires", "soon"]) == 2
    # A revoked one is shown when it is asked for
    assert run(["keys", "revoke", "0198-k"]) == 0
    assert out() == "the key laptop of acme (lev_AbCd…) was revoked\n"
    assert run(["keys", "--json"]) == 0
    assert json.loads(out()) == {"keys": []}
    assert run(["keys", "--ended"]) == 0
    assert "revoked 2026-11-22" in out()
    assert run(["keys", "revoke", "nothing"]) == 3
    assert "there is no such key" in err()


def test_workers_tell_their_jobs(target: FakeGateway, out: Callable[[], str]) -> None:
    target.desk.workers.append({**WORKER, "id": "quick-[1]", "queue": "quick", "silent": True, "jobs": []})

    assert run(["workers"]) == 0
    printed = out()
    assert "0198 cutout@1 for 12.4 s" in printed
    assert "quick-[1]" in printed
    assert "silent" in printed
    [well, silent] = [line.split() for line in printed.splitlines()[1:]]
    assert well[3:10] == ["1/2", "cuda0", "82.4", "%", "18.2/22.5", "GiB", "cutout@1"]
    assert silent[3:7] == ["1/2", "cuda", "—", "here"]

    assert run(["workers", "--queue", "quick", "--json"]) == 0
    assert [worker["id"] for worker in json.loads(out())["workers"]] == ["quick-[1]"]


def test_of_a_worker_that_told_nothing_nothing_is_shown(target: FakeGateway, out: Callable[[], str]) -> None:
    target.desk.workers[:] = [{**WORKER, "devices": None, "models": None}]

    assert run(["workers"]) == 0
    assert out().splitlines()[1].split()[3:7] == ["1/2", "cuda", "—", "here"]


def test_a_worker_is_asked_to_drain(target: FakeGateway, out: Callable[[], str]) -> None:
    assert run(["workers", "drain", "images-1"]) == 0

    assert target.desk.workers[0]["draining"]
    assert out() == (
        "worker images-1 was asked to drain: it takes no further job, finishes 1 job and leaves\n"
    )


def test_one_without_a_job_just_leaves(target: FakeGateway, out: Callable[[], str]) -> None:
    target.desk.workers[0]["jobs"] = []

    assert run(["workers", "drain", "images-1"]) == 0

    assert out().endswith("it takes no further job and leaves\n")


def test_a_worker_that_is_not_there_exits_3(target: FakeGateway, err: Callable[[], str]) -> None:
    assert run(["workers", "drain", "nobody"]) == 3

    assert err().splitlines() == [
        "leveret: there is no such worker, or it has left (not_found, 404)",
        "  hint: `leveret workers` lists who is there",
    ]
    assert not target.desk.workers[0]["draining"]


def test_fleets_tell_what_was_set_and_decided(target: FakeGateway, out: Callable[[], str]) -> None:
    target.desk.fleet |= {
        "min": 2,
        "changed_by": "default/laptop",
        "changed_at": "2026-11-22T09:00:00.000Z",
        "there": {"serving": 1, "starting": 2, "draining": 0},
        "limits": {"min": 2, "max": 4, "min_by": "order", "max_by": "settings"},
        "look": {"want": 4, "asked": 6, "bound": "max", "fresh": True},
    }

    assert run(["scaler"]) == 0

    row = out().splitlines()[1]
    assert row.startswith("images")
    assert "1 serves, 2 start" in row
    assert "4 (max)" in row
    assert "2 to 4" in row
    assert "min 2" in row
    assert "default/laptop" in row
    assert "wants 3, has 2: starts 1" in row


def test_decisions_are_explained_with_their_numbers(target: FakeGateway, out: Callable[[], str]) -> None:
    assert run(["scaler", "explain", "images", "-n", "2"]) == 0

    assert target.desk.asked == [{"limit": "2"}]
    lines = out().splitlines()
    assert lines[0].startswith("#7  ")
    assert lines[0].endswith("wants 3, has 2: starts 1")
    assert lines[1] == f"  {DECISION['reason']}"
    assert [line.strip() for line in lines[2:]] == [
        "demand    high 2 waiting, oldest 3 s; normal 10 waiting, oldest 2.52 min; 2 running",
        "workers   1 ready, 1 draining, 1 busy",
        "machines  unknown",
        "broker    12 messages ready, 2 consumers",
        "pace      a job takes 28.7 s, a boot 3.02 min",
        "failures  the last 3 launch attempts came to nothing",
        "spending  0.78 an hour; when it is carried out 1.17 an hour beside 1 machine without a price",
        "look      limits 0 to 3; asked for 5, bound by max",
    ]


def test_decisions_as_json_are_whole(target: FakeGateway, out: Callable[[], str]) -> None:
    assert run(["scaler", "explain", "images", "--json"]) == 0

    assert json.loads(out())["decisions"] == [DECISION]
    assert target.desk.asked == [{"limit": "5"}]


def test_before_the_first_decision_it_says_so(target: FakeGateway, out: Callable[[], str]) -> None:
    target.desk.decisions.clear()

    assert run(["scaler", "explain", "images"]) == 0

    assert "nothing was decided yet" in out()


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"demand": "unknown", "workers": "unknown", "machines": "unknown", "broker": "unknown"},
        {
            "demand": {},
            "workers": [],
            "machines": [{}, {"alive": False}],
            "broker": {},
            "pace": {},
        },
        {"something": {"new": 1}},
    ],
)
def test_a_hold_with_little_known_is_told_too(inputs: dict[str, Any]) -> None:
    decision = {**DECISION, "want": None, "actions": {}, "inputs": inputs}

    first, *_ = tell(decision)

    assert first.endswith("holds, has 2: does nothing")


def test_what_a_scaler_wrote_does_not_steer_the_terminal(target: FakeGateway, out: Callable[[], str]) -> None:
    target.desk.decisions[0]["reason"] = "\x1b[2J[red]gone"

    assert run(["scaler", "explain", "images"]) == 0

    assert "  \\x1b[2J[red]gone\n" in out()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--min", "2", "--max", "8"], {"min": 2, "max": 8}),
        (["--min", "none"], {"min": None}),
        (["--max", "0"], {"max": 0}),
    ],
)
def test_limits_are_set(
    target: FakeGateway, out: Callable[[], str], words: list[str], said: dict[str, Any]
) -> None:
    assert run(["scaler", "set", "images", *words]) == 0

    assert target.desk.said == [said]
    assert "from the scaler's next look on" in out()


def test_what_is_set_is_told(target: FakeGateway, out: Callable[[], str]) -> None:
    assert run(["scaler", "set", "images", "--min", "2", "--max", "8"]) == 0
    assert out().startswith("images: min 2, max 8, from")
    assert run(["scaler", "set", "images", "--min", "none", "--max", "none", "--json"]) == 0
    assert json.loads(out())["max"] is None
    assert run(["scaler", "resume", "images"]) == 0
    assert out().startswith("images: as the scaler's settings say, from")
    assert target.seen


@pytest.mark.parametrize("words", [[], ["--min", "-1"], ["--min", "many"], ["--max", "2.5"], ["--min", "²"]])
def test_limits_that_are_none_exit_2(target: FakeGateway, err: Callable[[], str], words: list[str]) -> None:
    assert run(["scaler", "set", "images", *words]) == 2

    assert "`leveret scaler set --help`" in err()
    assert not target.desk.said


def test_a_minimum_above_the_maximum_is_refused(target: FakeGateway, err: Callable[[], str]) -> None:
    target.desk.fleet["max"] = 1

    assert run(["scaler", "set", "images", "--min", "2"]) == 3

    assert "(limits_crossed, 409)" in err()


def test_a_fleet_is_paused_and_resumed(target: FakeGateway, out: Callable[[], str]) -> None:
    assert run(["scaler", "pause", "images"]) == 0
    assert target.desk.fleet["paused"]
    assert out().startswith("images: paused, from")
    assert run(["scaler", "resume", "images"]) == 0
    assert not target.desk.fleet["paused"]


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_a_tenants_key_exits_3_and_is_told_what_it_takes(
    target: FakeGateway, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    target.desk.role = "user"

    assert run(words) == 3

    printed = capsys.readouterr()
    assert printed.out == ""
    assert "(forbidden, 403)" in printed.err
    assert "--role operator" in printed.err


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_everything_can_be_one_json_document(
    target: FakeGateway, out: Callable[[], str], words: list[str]
) -> None:
    assert run([*words, "--json"]) == 0

    assert isinstance(json.loads(out()), dict)
    assert target.seen


def test_the_python_client_can_do_the_same(target: FakeGateway) -> None:
    with Client() as client:
        assert client.queues()[0]["queue"] == "images"
        assert client.workers("nowhere") == []
        assert client.drain("images-1")["draining"]
        assert client.set_fleet("images", max=3, paused=True)["max"] == 3
        assert client.fleets()[0]["paused"]
        assert not client.resume_fleet("images")["paused"]
        assert client.pause_fleet("images")["paused"]
        assert client.decisions("images", limit=1, cursor=9)["next_cursor"] is None
    assert target.desk.said == [{"max": 3, "paused": True}]
    assert target.desk.asked == [{"limit": "1", "cursor": "9"}]


def test_doctor_counts_those_that_are_heard_of(target: FakeGateway, out: Callable[[], str]) -> None:
    run(["doctor", "--json"])
    found = {finding["name"]: finding for finding in json.loads(out())}
    assert (found["workers"]["ok"], found["workers"]["found"]) == (True, "1 alive")

    target.desk.workers[0]["silent"] = True
    run(["doctor", "--json"])
    found = {finding["name"]: finding for finding in json.loads(out())}
    assert found["workers"]["ok"] is None
    assert found["workers"]["found"].startswith("0 alive; none for images")


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (None, "—"),
        (0, "0 s"),
        (0.0421, "0.0421 s"),
        (119.4, "119 s"),
        (120, "2 min"),
        (7199, "120 min"),
        (7200, "2 h"),
        (172800, "2 d"),
    ],
)
def test_spans_have_a_unit_that_fits(seconds: float | None, told: str) -> None:
    assert span(seconds) == told
