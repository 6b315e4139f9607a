"""The local stack's own decisions, without its servers."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest

from deploy.local import envfile, scraping
from deploy.local.accounts import data_root
from deploy.local.applications import ROOT
from deploy.local.failure import LAST_LINES, NotReadyError, StackError
from deploy.local.lock import exclusive
from deploy.local.ports import free_ports
from deploy.local.processes import Process
from deploy.local.progress import Progress, shown
from deploy.local.stack import Stack
from deploy.local.state import State
from deploy.local.together import together
from tests.unit.deploy.promtool import promtool

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

DSN = "LEVERET_POSTGRES_DSN"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("LEVERET_")]:
        monkeypatch.delenv(name)
    return tmp_path


def stack(folder: Path) -> Stack:
    return Stack(folder, Progress(quiet=True))


def test_a_file_of_variables_survives_every_character(tmp_path: Path) -> None:
    variables = {"A": 'it\'s $HOME `x` "y"', "B": "", "C": "a=b#c d"}
    envfile.write(tmp_path / "env", variables)
    assert envfile.read(tmp_path / "env") == variables
    assert stat.S_IMODE((tmp_path / "env").stat().st_mode) == 0o600


def test_a_state_survives_its_file(tmp_path: Path) -> None:
    # Given a state with ports, a process and the user's settings
    state = State(tmp_path / "state.json")
    ports = state.ports_for("rabbitmq", 3)
    me = Process.of(os.getpid())
    assert me is not None
    state.started("rabbitmq", me)
    state.keep_user({DSN: "theirs"})
    # When it is read again
    again = State.load(tmp_path / "state.json")
    # Then nothing is lost, and only its owner can read it
    assert again == state
    assert again.ports_for("rabbitmq", 3) == ports
    assert stat.S_IMODE((tmp_path / "state.json").stat().st_mode) == 0o600


def test_a_customary_port_is_taken_where_it_is_free(tmp_path: Path) -> None:
    (customary,) = free_ports(1)
    assert State(tmp_path / "state.json").ports_for("gateway", 2, first=customary)[0] == customary


def test_a_dead_servers_ports_are_kept_where_others_know_them(tmp_path: Path) -> None:
    # Given RabbitMQ's ports, one of which its port mapper, which lives on, still holds
    state = State(tmp_path / "state.json")
    ports = state.ports_for("rabbitmq", 3)
    with socket.create_server(("127.0.0.1", ports[2])):
        # Then they stay where they are to stay, and a new start takes others
        assert state.ports_for("rabbitmq", 3, keep=True) == ports
        assert state.ports_for("rabbitmq", 3) != ports


def test_a_setting_of_the_user_counts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DSN, "theirs")
    assert stack(folder)._user == {DSN: "theirs"}


def test_a_setting_sourced_from_an_earlier_run_does_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    envfile.write(folder / "stack.env", {DSN: "private"})
    monkeypatch.setenv(DSN, "private")
    monkeypatch.setenv("LEVERET_URL", "the client's")
    assert stack(folder)._user == {}


def test_another_shell_means_the_same_stack(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a stack on the user's own database
    State(folder / "state.json").keep_user({DSN: "theirs"})
    envfile.write(folder / "stack.env", {DSN: "theirs"})
    # Then a shell without the variable means it too, and so does one with it
    assert stack(folder)._user == {DSN: "theirs"}
    monkeypatch.setenv(DSN, "theirs")
    assert stack(folder)._user == {DSN: "theirs"}


async def test_nothing_is_healthy_where_nothing_was_started(folder: Path) -> None:
    assert not await stack(folder).healthy()


async def test_stopping_what_never_ran_is_quiet(folder: Path) -> None:
    await stack(folder / "absent").down()
    await stack(folder / "absent").clean()
    assert not await asyncio.to_thread((folder / "absent").exists)


async def test_one_command_at_a_time_changes_a_stack(tmp_path: Path) -> None:
    order = list[str]()

    async def command(name: str, hold: asyncio.Event | None) -> None:
        async with exclusive(tmp_path, Progress(quiet=True)):
            order.append(f"{name} begins")
            entered.set()
            if hold:
                await hold.wait()
            order.append(f"{name} ends")

    entered, release = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(command("first", release))
        await entered.wait()
        group.create_task(command("second", None))
        await asyncio.sleep(0)
        release.set()
    assert order == ["first begins", "first ends", "second begins", "second ends"]


async def test_the_first_failure_is_raised_as_itself() -> None:
    async def fail() -> None:
        raise StackError("this one")

    with pytest.raises(StackError, match="this one"):
        await together(asyncio.sleep(30), fail())


def test_a_failure_shows_the_end_of_the_log_and_where_it_is(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("".join(f"line {number}\n" for number in range(100)))
    text = str(NotReadyError("it ended", log))
    assert "line 99" in text
    assert f"line {99 - LAST_LINES}" not in text
    assert str(log) in text


def test_paths_are_told_from_where_the_person_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "checkout" / ".leveret" / "env"
    for stands, told in (
        (tmp_path / "checkout", ".leveret/env"),
        (tmp_path, "checkout/.leveret/env"),
        (tmp_path / "elsewhere", str(file)),
    ):
        monkeypatch.setenv("_LEVERET_FROM", str(stands))
        assert shown(file) == told


@pytest.mark.parametrize(
    ("log", "told"),
    [
        ("Collecting redis\nWARNING: Location 'file:///opt' is ignored\n", "Collecting redis"),
        ("Collecting\tredis\n[notice] A new release of pip\nDEPRECATION: old\n", "Collecting redis"),
        ("WARNING: Location 'file:///opt' is ignored\n", ""),
    ],
)
def test_a_warning_of_the_environment_is_no_progress(tmp_path: Path, log: str, told: str) -> None:
    (tmp_path / "pip.log").write_text(log)
    script = "source <(sed -n '/^progress_in()/,/^}/p' deploy/bootstrap); progress_in \"$1\""
    bash = ["bash", "-c", script, "bash", str(tmp_path / "pip.log")]
    assert subprocess.check_output(bash, cwd=ROOT, text=True).strip() == told


def test_data_lie_beside_the_state_where_every_account_can_reach_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert data_root(tmp_path) == tmp_path / "data"


def test_root_keeps_data_elsewhere_when_the_checkout_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    tmp_path.chmod(0o700)
    assert tmp_path not in data_root(tmp_path).parents


def test_what_a_prometheus_beside_the_stack_needs_is_written_down(folder: Path) -> None:
    variables = {"LEVERET_GATEWAY_ADMIN_PORT": "8001", "LEVERET_SCALER_ADMIN_PORT": "8002"}
    scraping.write(folder, variables)
    done = promtool("check", "config", folder / "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "http://127.0.0.1:8001/targets" in (folder / "prometheus.yml").read_text()
