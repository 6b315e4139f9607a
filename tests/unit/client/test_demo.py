"""`leveret demo kill` against a gateway that tells what a test wants: whom it kills, what it counts.

The worker is a real process that does nothing; the whole of it is in tests/e2e/test_demo.py.
"""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from gateway.client.cli import killing, private, victim
from gateway.client.cli.app import run
from gateway.client.cli.drawing import picture
from gateway.client.cli.ledger import Entry, Ledger, fence_of
from gateway.client.cli.watching import Crew
from tests.fakes.gateway import KEY, FakeGateway
from tests.fakes.operator_desk import WORKER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HELD = WORKER["jobs"][0]
URI = "s3://leveret/default/0198/3/cutout.png"
LOST = {"error": {"code": "worker_lost", "message": "its worker was lost"}, "delay_s": 0}
AGAIN: list[tuple[str, dict[str, Any]]] = [
    ("job.running", {"attempt": 1}),
    ("job.retrying", LOST),
    ("job.running", {"attempt": 2}),
]
OUTPUTS = {"outputs": {"cutout": {"uri": URI, "size": 12}}}
TWICE = [{"attempt": 1, "outcome": "worker_lost"}, {"attempt": 2, "outcome": "succeeded"}]


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that looks like a worker."""
    words = [sys.executable, "-c", "import time; time.sleep(60)", "gpu_worker"]
    with subprocess.Popen(words) as process:
        while b"gpu_worker" not in Path(f"/proc/{process.pid}/cmdline").read_bytes():
            time.sleep(0.01)  # the kernel is still about to make it so
        yield process
        process.kill()


@pytest.fixture
def stage(
    gateway: FakeGateway,
    sleeper: subprocess.Popen[bytes],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> FakeGateway:
    """A job that is run again after its worker's death, and the process that is that worker."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("LEVERET_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LEVERET_URL", gateway.url)
    monkeypatch.setenv("LEVERET_API_KEY", KEY)
    gateway.desk.role = "operator"
    gateway.desk.workers = [worker(sleeper.pid)]
    gateway.submitting = lambda job_id: hold(gateway, job_id)
    gateway.script = [("job.queued", {}), *AGAIN, ("job.succeeded", OUTPUTS)]
    gateway.attempts = TWICE
    return gateway


def worker(pid: int, **other: Any) -> dict[str, Any]:
    return {**WORKER, "host": f"{socket.gethostname()}:{pid}", "jobs": [], **other}


def hold(gateway: FakeGateway, job_id: str) -> None:
    gateway.desk.workers[0]["jobs"] = [{**HELD, "id": job_id}]


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    return lambda: capsys.readouterr().out


def test_a_worker_is_killed_and_nothing_is_lost(
    stage: FakeGateway, sleeper: subprocess.Popen[bytes], told: Callable[[], str]
) -> None:
    assert run(["demo", "kill"]) == 0

    assert sleeper.wait(5) == -9
    printed = told()
    assert "accepted 1 · lost 0 · twice 0" in printed
    for word in ("fence 1", "a lease of 18 s", f"process {sleeper.pid}", "worker_lost", "committed once"):
        assert word in printed
    assert stage.submitted[0].files["image"][2] == picture()


def test_json_is_one_document(
    stage: FakeGateway, sleeper: subprocess.Popen[bytes], told: Callable[[], str]
) -> None:
    assert run(["demo", "kill", "cutout", "image=s3://a/b.png", "--json"]) == 0

    document = json.loads(told())
    assert {name: document[name] for name in ("accepted", "killed", "lost", "twice")} == {
        "accepted": 1,
        "killed": 1,
        "lost": 0,
        "twice": 0,
    }
    (job,) = document["jobs"]
    assert (job["killed"], job["fence"], job["result_fence"]) == (sleeper.pid, 1, 3)
    assert job["attempts"] == [[1, "worker_lost"], [2, "succeeded"]]
    assert stage.submitted[0].options["inputs"] == {"image": {"uri": "s3://a/b.png"}}


def test_a_lost_job_is_counted_and_exits_1(stage: FakeGateway, told: Callable[[], str]) -> None:
    stage.script = [("job.queued", {}), *AGAIN, ("job.failed", LOST)]
    stage.attempts = TWICE[:1]

    assert run(["demo", "kill"]) == 1

    printed = told()
    assert "accepted 1 · lost 1 · twice 0" in printed
    assert f"lost: {next(iter(stage.jobs))} (job.failed)" in printed


def test_a_job_without_an_end_is_lost(
    stage: FakeGateway, told: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(killing, "PATIENCE_S", 0.5)
    stage.script = [("job.queued", {}), *AGAIN]
    stage.attempts = []

    assert run(["demo", "kill"]) == 1

    assert "(no end)" in told()


def test_a_doubled_result_is_counted_and_exits_1(stage: FakeGateway, told: Callable[[], str]) -> None:
    stage.attempts = [{"attempt": 1, "outcome": "succeeded"}, *TWICE]

    assert run(["demo", "kill"]) == 1

    assert "accepted 1 · lost 0 · twice 1" in told()


def test_a_job_that_is_over_too_soon_proves_nothing(stage: FakeGateway, told: Callable[[], str]) -> None:
    stage.submitting = lambda _: None
    stage.attempts = TWICE[1:]

    assert run(["demo", "kill"]) == 1

    printed = told()
    assert "1 of 1 kills came too late" in printed
    assert "accepted 4 · lost 0 · twice 0" in printed


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("elsewhere:1", "not on this machine"),
        ("{here}", "not on this machine"),
        ("{here}:1", "is no worker"),
        ("{here}:999999999", "which is not here"),
    ],
)
def test_a_worker_that_is_not_here_is_not_killed(
    stage: FakeGateway, capsys: pytest.CaptureFixture[str], host: str, why: str
) -> None:
    stage.desk.workers[0]["host"] = host.replace(
        "{here}", socket.gethostname() if host != "{here}" else "pod"
    )

    assert run(["demo", "kill"]) == 2

    assert why in capsys.readouterr().err
    assert stage.submitted == []


def test_another_users_worker_is_not_killed(
    stage: FakeGateway, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stage.desk.workers
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    with pytest.raises(victim.NotOursError, match="belongs to user"):
        victim.find(worker(sleeper.pid))
    assert sleeper.poll() is None


def test_a_tenants_key_is_told_what_it_takes(
    stage: FakeGateway, sleeper: subprocess.Popen[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    stage.desk.role = "user"

    assert run(["demo", "kill"]) == 3

    assert "--role operator" in capsys.readouterr().err
    assert sleeper.poll() is None


@pytest.mark.parametrize("words", [["--times", "0"], ["--times", "x"]])
def test_a_wrong_number_of_times_is_usage(stage: FakeGateway, words: list[str]) -> None:
    assert run(["demo", "kill", *words]) == 2
    assert stage.submitted == []


def test_a_gateway_that_was_named_and_is_away_is_not_replaced(
    unused_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LEVERET_URL", unused_url)
    monkeypatch.setenv("LEVERET_API_KEY", KEY)
    monkeypatch.setattr(private, "_private_stack", lambda: pytest.fail("a stack was started"))

    assert run(["demo", "kill"]) == 4


def test_without_a_gateway_and_a_checkout_it_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("LEVERET_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(private, "_installed", lambda: False)

    assert run(["demo", "kill"]) == 2

    assert "make up" in capsys.readouterr().err


def test_the_drawn_picture_is_one() -> None:
    with Image.open(io.BytesIO(picture(64))) as image:
        image.load()
    assert (image.format, image.mode, image.size) == ("PNG", "RGB", (64, 64))


def test_the_fence_is_that_of_the_result() -> None:
    assert fence_of({"cutout": {"uri": URI}}) == 3
    assert fence_of({"cutout": {"uri": "s3://their-own/place.png"}}) is None
    assert fence_of({}) is None


def test_kills_that_did_not_happen_are_no_proof() -> None:
    entry = Entry("a", endings=["job.succeeded"], successes=1)
    assert not Ledger(1, [entry]).well
    entry.killed = 7
    assert Ledger(1, [entry]).well


def test_a_shortened_lease_and_a_new_worker_are_told() -> None:
    crew = Crew()
    before = worker(1, jobs=[{**HELD, "lease_s": 18.0}])
    assert [who for who, _, _ in crew.see([before], HELD["id"])] == ["scaler", "worker"]

    assert crew.see([before], HELD["id"]) == []
    after = [
        worker(1, jobs=[{**HELD, "lease_s": 6.9}], silent=True),
        worker(2, id="images-2", state="starting"),
    ]
    told = crew.see(after, HELD["id"])

    assert [who for who, _, _ in told] == ["worker", "scaler", "broker"]
    assert "6.9 s left" in told[-1][1]
    assert "process 2" in told[1][1]
