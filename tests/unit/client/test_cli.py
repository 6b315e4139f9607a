"""The `leveret` command against a gateway: what it prints, what it saves, how it exits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway.client.cli.app import run
from gateway.client.cli.checks import judge_clock
from gateway.client.cli.workers import judge_queue, read_queues
from tests.fakes.gateway import KEY, FakeGateway
from tests.fakes.problems import problem

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("LEVERET_")]:
        monkeypatch.delenv(name)
    (tmp_path / "face.jpg").write_bytes(b"a face")


@pytest.fixture
def target(gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> FakeGateway:
    monkeypatch.setenv("LEVERET_URL", gateway.url)
    monkeypatch.setenv("LEVERET_API_KEY", KEY)
    return gateway


@pytest.fixture
def out(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    return lambda: capsys.readouterr().out


@pytest.fixture
def err(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    return lambda: capsys.readouterr().err


def submitted(gateway: FakeGateway) -> str:
    assert run(["submit", "cutout", "image=@face.jpg", "--no-wait"]) == 0
    return next(iter(gateway.jobs))


def test_submit_sends_waits_saves_and_tells(
    target: FakeGateway, out: Callable[[], str], tmp_path: Path
) -> None:
    assert run(["submit", "cutout", "image=@face.jpg", "size=128", "-p", "7", "-o", "results"]) == 0

    sent = target.submitted[0]
    assert sent.files["image"] == ("face.jpg", "image/jpeg", b"a face")
    assert sent.options == {"params": {"size": 128}, "priority": 7}
    assert (tmp_path / "results" / "cutout.png").read_bytes() == target.content
    printed = out()
    assert "cutout succeeded" in printed
    assert "infer 250 ms" in printed
    assert "results/cutout.png" in printed


def test_a_batch_is_told_by_its_size_and_not_as_a_span(target: FakeGateway, out: Callable[[], str]) -> None:
    target.script[-1][1]["timings"] = {"infer_s": 0.25, "batch_size": 4.0}

    assert run(["submit", "cutout", "image=@face.jpg"]) == 0

    assert "infer 250 ms · in a batch of 4\n" in out()


def test_short_texts_are_printed_when_nothing_is_saved(target: FakeGateway, out: Callable[[], str]) -> None:
    target.content = b'{"label": "[bold]cat"}'
    target.succeed(content_type="application/json")

    assert run(["submit", "cutout", "image=@face.jpg"]) == 0

    assert 'cutout: {"label": "[bold]cat"}' in out()


def test_submit_into_a_file_name(target: FakeGateway, tmp_path: Path) -> None:
    assert run(["submit", "cutout", "image=@face.jpg", "-o", "face.png"]) == 0

    assert (tmp_path / "face.png").read_bytes() == target.content


def test_submit_json_is_one_document(target: FakeGateway, out: Callable[[], str]) -> None:
    assert run(["submit", "cutout", "image=s3://bucket/x.jpg", "--json", "-o", "results"]) == 0

    document = json.loads(out())
    assert document["state"] == "succeeded"
    assert document["saved"] == {"cutout": "results/cutout.png"}
    assert target.submitted[0].options == {"inputs": {"image": {"uri": "s3://bucket/x.jpg"}}}


def test_options_may_stand_anywhere(target: FakeGateway) -> None:
    assert run(["submit", "-p", "3", "cutout", "--no-wait", "image=@face.jpg", "--json", "size=-1"]) == 0

    assert target.submitted[0].options == {"params": {"size": -1}, "priority": 3}


def test_no_wait_prints_the_id_alone(target: FakeGateway, out: Callable[[], str]) -> None:
    job_id = submitted(target)

    assert out() == f"{job_id}\n"
    assert not target.cursors


def test_text_stays_text_and_numbers_become_numbers(target: FakeGateway) -> None:
    assert run(["submit", "cutout", "image=@face.jpg", "note=12", "size=12", "mode=soft", "--no-wait"]) == 0

    assert target.submitted[0].options == {
        "inputs": {"note": {"json": "12"}},
        "params": {"size": 12, "mode": "soft"},
    }


def test_param_named_like_an_option_is_a_param(target: FakeGateway) -> None:
    assert run(["submit", "cutout", "image=@face.jpg", "priority=3", "--no-wait"]) == 0

    assert target.submitted[0].options == {"params": {"priority": 3}}


def test_failed_job_exits_1_with_its_error(target: FakeGateway, capsys: pytest.CaptureFixture[str]) -> None:
    target.end("job.failed", {"code": "algorithm_error", "message": "[red]\x1b[2Jboom"})

    assert run(["submit", "cutout", "image=@face.jpg"]) == 1

    printed = capsys.readouterr()
    assert "algorithm_error: [red]\\x1b[2Jboom" in printed.out
    assert "leveret logs" in printed.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["image=@nowhere.jpg"], "no file 'nowhere.jpg'"),
        (["face.jpg"], "name=@path"),
        (["image=@face.jpg", "image=@face.jpg"], "twice"),
    ],
)
def test_usage_errors_exit_2(
    target: FakeGateway, err: Callable[[], str], words: list[str], says: str
) -> None:
    assert run(["submit", "cutout", *words]) == 2

    assert says in err()
    assert not target.submitted


@pytest.mark.parametrize(
    "words",
    [
        ["submit", "cutout", "--prioritty", "3"],
        ["submit", "cutout", "-p", "high"],
        ["submit"],
        ["watch"],
        ["bogus"],
    ],
)
def test_wrong_command_lines_exit_2(target: FakeGateway, words: list[str]) -> None:
    assert run(words) == 2
    assert not target.submitted


def test_no_settings_exit_2_and_say_what_to_do(err: Callable[[], str]) -> None:
    assert run(["models"]) == 2

    assert err() == "leveret: LEVERET_URL is not set: start a local stack with `make up`, or export it\n"


def test_settings_are_found_in_a_parent_folder(
    gateway: FakeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".leveret").mkdir()
    (tmp_path / ".leveret" / "env").write_text(f"LEVERET_URL={gateway.url}\nLEVERET_API_KEY={KEY}\n")
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")

    assert run(["models"]) == 0


def test_refusal_exits_3_with_a_hint(target: FakeGateway, err: Callable[[], str]) -> None:
    target.faults.append(problem(401, "unauthorized", "the API key is not known"))

    assert run(["models"]) == 3

    assert err().splitlines() == [
        "leveret: the API key is not known (unauthorized, 401)",
        "  hint: check LEVERET_API_KEY; `make up` writes a working one to .leveret/env",
    ]


def test_error_as_json(target: FakeGateway, err: Callable[[], str]) -> None:
    assert run(["job", "nope", "--json"]) == 3

    assert json.loads(err())["error"]["code"] == "not_found"
    assert target.seen


def test_unreachable_exits_4(
    unused_url: str, monkeypatch: pytest.MonkeyPatch, err: Callable[[], str]
) -> None:
    monkeypatch.setenv("LEVERET_URL", unused_url)
    monkeypatch.setenv("LEVERET_API_KEY", KEY)
    monkeypatch.setattr("gateway.client.retry.RetryPolicy.allows", lambda *_: False)

    assert run(["models"]) == 4

    assert "no answer from" in err()


def test_watch_follows_many_and_exits_by_the_worst(target: FakeGateway, out: Callable[[], str]) -> None:
    first = submitted(target)
    submitted(target)
    second = list(target.jobs)[1]
    out()

    assert run(["watch", first, second]) == 0
    lines = out().splitlines()
    assert len(lines) == 8
    assert {first, second} == {line.split()[1] for line in lines}

    target.end("job.failed", {"code": "worker_lost", "message": "died"})
    assert run(["watch", first]) == 1
    assert "worker_lost: died" in out()


def test_watch_as_json_lines(target: FakeGateway, out: Callable[[], str]) -> None:
    job_id = submitted(target)
    out()

    assert run(["watch", job_id, "--json"]) == 0

    assert [json.loads(line)["seq"] for line in out().splitlines()] == [1, 2, 2, 3]


def test_watching_nothing_that_exists_exits_3(target: FakeGateway, err: Callable[[], str]) -> None:
    assert run(["watch", "nope"]) == 3
    assert "no such job" in err()
    assert not target.cursors


def test_job_logs_cancel(target: FakeGateway, out: Callable[[], str]) -> None:
    job_id = submitted(target)

    assert run(["job", job_id]) == 0
    assert run(["logs", job_id]) == 0
    assert run(["cancel", job_id]) == 0

    printed = out()
    assert "── attempt 1 ──\nhello from the algorithm\nValueError: boom\n" in printed


def test_models_are_listed(target: FakeGateway, out: Callable[[], str]) -> None:
    assert run(["models"]) == 0
    assert "cutout@1" in out()
    assert run(["models", "--json"]) == 0
    assert json.loads(out())[0]["name"] == "cutout"
    assert target.seen


AT_A_TERMINAL = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("gateway.client", run_name="__main__", alter_sys=True)
"""
"""A suite that runs in the background of a shell has SIGINT ignored, and so have its children."""


def test_interrupt_exits_130_and_says_that_the_job_goes_on(target: FakeGateway, tmp_path: Path) -> None:
    target.hold.clear()
    target.sockets.append((2, 1012))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", AT_A_TERMINAL, "submit", "cutout", "image=@face.jpg"]
    with subprocess.Popen(words, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as child:
        target.streaming.wait(20)
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=20)

    assert child.returncode == 130
    assert "leveret watch" in said
    assert "Traceback" not in said


def test_help_loads_no_http_stack() -> None:
    code = (
        "import sys; from gateway.client.cli.app import run\n"
        "assert run(['--help']) == 0\n"
        "sys.exit(bool({'httpx2', 'websockets'} & set(sys.modules)))"
    )
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, check=False)

    assert done.returncode == 0, done.stderr


def test_the_client_needs_nothing_of_the_server() -> None:
    code = (
        "import sys, gateway.client as client\n"
        "[getattr(client, name) for name in client.__all__]\n"
        "import gateway.client.cli.app, gateway.client.cli.doctor, gateway.client.cli.submit\n"
        "rooms = ('gateway.', 'shared', 'gpu_worker', 'deploy', 'pydantic', 'starlette')\n"
        "met = [name for name in sys.modules if name.startswith(rooms)]\n"
        "sys.exit(', '.join(name for name in met if not name.startswith('gateway.client')) or 0)"
    )
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, check=False)

    assert done.returncode == 0, done.stderr


def doctor(words: list[str], out: Callable[[], str]) -> tuple[int, dict[str, Any]]:
    code = run(["doctor", "--json", *words])
    return code, {finding["name"]: finding for finding in json.loads(out())}


def test_doctor_finds_a_well_gateway(
    target: FakeGateway, monkeypatch: pytest.MonkeyPatch, out: Callable[[], str]
) -> None:
    monkeypatch.setenv("LEVERET_GATEWAY_ADMIN_PORT", target.url.rpartition(":")[2])
    monkeypatch.setenv("LEVERET_REDIS_URL", target.url.replace("http", "redis") + "/0")

    code, findings = doctor([], out)

    assert code == 0
    wanted = {"settings", "/livez", "/readyz", "gateway", "clock", "catalog", "WebSocket", "Redis"}
    assert {name for name, finding in findings.items() if finding["ok"]} >= wanted
    assert findings["workers"]["ok"] is None


def test_doctor_says_what_to_fix(unused_url: str, tmp_path: Path, out: Callable[[], str]) -> None:
    (tmp_path / ".leveret").mkdir()
    (tmp_path / ".leveret" / "env").write_text(f"LEVERET_URL={unused_url}\nLEVERET_API_KEY={KEY}\n")
    (tmp_path / ".leveret" / "stack.env").write_text(
        f"LEVERET_POSTGRES_DSN={unused_url.replace('http', 'postgresql')}/leveret\n"
    )

    code, findings = doctor([], out)

    assert code == 1
    for name in ("gateway", "PostgreSQL"):
        assert findings[name]["ok"] is False
        assert "make up" in findings[name]["fix"]


def test_doctor_without_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor"]) == 1

    printed = capsys.readouterr().out
    assert "✗ settings" in printed
    assert "→ `make up`" in printed


def test_doctor_with_a_wrong_key(
    target: FakeGateway, monkeypatch: pytest.MonkeyPatch, out: Callable[[], str]
) -> None:
    monkeypatch.setenv("LEVERET_API_KEY", "lev_wrong")

    code, findings = doctor([], out)

    assert code == 1
    assert findings["API key"]["ok"] is False
    assert target.seen


def test_a_place_that_cannot_be_written_is_one_line(
    target: FakeGateway, tmp_path: Path, err: Callable[[], str]
) -> None:
    (tmp_path / "results").write_text("a file is in the way")

    assert run(["submit", "cutout", "image=@face.jpg", "-o", "results/"]) == 2

    assert err().startswith("leveret: -o results: can't write there: File exists\n")
    assert not target.jobs


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("face.jpg/sub", "-o face.jpg/sub: can't write there: Not a directory"),
        ("/proc/nowhere/sub", "-o /proc/nowhere/sub: can't write there: "),
        ("/proc/face.png", "-o /proc/face.png: can't write there: "),
    ],
)
def test_a_place_is_looked_at_before_the_job_is_submitted(
    target: FakeGateway, err: Callable[[], str], place: str, says: str
) -> None:
    assert run(["submit", "cutout", "image=@face.jpg", "-o", place]) == 2

    assert err().startswith(f"leveret: {says}")
    assert not target.jobs


@pytest.mark.parametrize(
    "words",
    [["submit", "cutout", "--prioritty", "3"], ["submit", "cutout", "-p", "high"], ["submit"], ["bogus"]],
)
def test_wrong_command_lines_are_json_when_asked_for(
    target: FakeGateway, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert run([*words, "--json"]) == 2

    printed = capsys.readouterr()
    error = json.loads(printed.err)["error"]
    assert error["code"] == "usage"
    assert len(error["message"].splitlines()) == 1
    assert "--help" in error["hint"]
    assert printed.out == ""
    assert not target.submitted


def test_the_hint_fits_what_is_missing(target: FakeGateway, err: Callable[[], str]) -> None:
    assert run(["job", "nope"]) == 3
    assert "leveret models" not in err()
    assert run(["submit", "nope"]) == 3
    assert "`leveret models` lists the models" in err()
    assert target.seen


@pytest.mark.parametrize(
    ("skew_s", "ok", "says"),
    [
        (1.3, True, "ok"),
        (-1.9, True, "ok"),
        (2.6, True, "+2.6 s against the gateway"),
        (-9.0, False, "-9.0 s against the gateway"),
        (None, None, "no Date"),
    ],
)
def test_a_clock_is_judged_no_finer_than_it_is_told(
    skew_s: float | None,
    ok: bool | None,  # noqa: FBT001  a column of the table
    says: str,
) -> None:
    finding = judge_clock(skew_s)

    assert finding.ok is ok
    assert says in finding.found


def test_repeats_are_told(target: FakeGateway, err: Callable[[], str]) -> None:
    target.faults.append(problem(503, "unavailable", "PostgreSQL is away", retry_after="0"))

    assert run(["models"]) == 0

    assert "PostgreSQL is away" in err()


@pytest.mark.parametrize(
    ("figures", "ok", "says"),
    [
        ({"have_workers": 2, "backlog_jobs": 5}, True, "2 workers, 5 jobs waiting"),
        ({"have_workers": 0, "backlog_jobs": 0}, None, "the first job starts one"),
        ({"have_workers": 0, "backlog_jobs": 1}, None, "1 job waiting: one is being started"),
        ({"have_workers": 0, "backlog_jobs": 1, "failed_launches": 3}, False, "3 launches in a row failed"),
        ({"have_workers": float("nan"), "backlog_jobs": 1}, None, "does not know"),
        ({}, None, "does not know"),
    ],
)
def test_doctor_judges_queues(figures: dict[str, float], ok: bool | None, says: str) -> None:  # noqa: FBT001
    finding = judge_queue("images", figures)

    assert finding.ok is ok
    assert says in finding.found


def test_scaler_figures_are_read_by_queue() -> None:
    text = (
        "# HELP leveret_scaler_have_workers x\n"
        'leveret_scaler_have_workers{queue="images"} 1.0\n'
        'leveret_scaler_backlog_jobs{queue="images",class="high"} 2.0\n'
        'leveret_scaler_backlog_jobs{queue="images",class="low"} 3.0\n'
        'leveret_scaler_decisions_total{action="launch",queue="quick"} 1.0\n'
        "leveret_scaler_leader 1.0\n"
    )

    assert read_queues(text) == {
        "images": {"have_workers": 1.0, "backlog_jobs": 5.0},
        "quick": {"decisions_total": 1.0},
    }
