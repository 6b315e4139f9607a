"""What the examples in deploy/ promise: the worker's command in its pod, with a stand-in for the worker."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from deploy.aws.launch_template import USER_DATA, user_data
from gpu_worker.settings import WorkerSettings
from scaler.settings import ScalerSettings
from shared.settings import read_settings

KUBERNETES = Path(__file__).parents[3] / "deploy" / "kubernetes"
POD = yaml.safe_load((KUBERNETES / "worker.yaml").read_text())["spec"]["template"]["spec"]
[CONTAINER] = POD["containers"]


@contextmanager
def worker(folder: Path, script: str) -> Iterator[subprocess.Popen[str]]:
    """The container's shell, where `python -m gpu_worker` is this script."""
    stand_in = folder / "python"
    stand_in.write_text(f"#!{sys.executable} -u\nimport signal, sys, time\n{script}\n")
    stand_in.chmod(0o755)
    with subprocess.Popen(
        [*CONTAINER["command"][2:], *CONTAINER["args"]],
        env=os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_the_scaler_is_found_where_keda_asks_for_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    scaler, service = yaml.safe_load_all((KUBERNETES / "scaler.yaml").read_text())
    [trigger] = yaml.safe_load((KUBERNETES / "keda.yaml").read_text())["spec"]["triggers"]
    pod = scaler["spec"]["template"]
    [container], [port] = pod["spec"]["containers"], service["spec"]["ports"]
    environment = {each["name"]: each["value"] for each in container["env"]}
    # KEDA's address is the Service's, the Service's pods are the Deployment's, and they listen there
    asked = urlsplit(trigger["metadata"]["url"])
    assert (asked.hostname, asked.port) == (service["metadata"]["name"], port["port"])
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert {"name": port["targetPort"], "containerPort": port["port"]} in container["ports"]
    # And the settings are ones that the scaler takes
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = read_settings(ScalerSettings)
    assert (settings.scaler.fleet, settings.scaler.admin_port) == ("kubernetes", port["port"])
    roles = yaml.safe_load_all((KUBERNETES / "scaler-role.yaml").read_text())
    accounts = [each["metadata"]["name"] for each in roles if each["kind"] == "ServiceAccount"]
    assert accounts == [pod["spec"]["serviceAccountName"]]


def test_a_worker_that_fails_ends_its_container_with_its_code(tmp_path: Path) -> None:
    with worker(tmp_path, "sys.exit(3)") as process:
        assert process.wait(timeout=20) == 3


def test_a_worker_that_has_drained_stays_until_its_pod_is_taken_away(tmp_path: Path) -> None:
    with worker(tmp_path, "print('drained')") as process:
        assert process.stdout
        assert process.stdout.readline() == "drained\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=1)
        process.terminate()
        assert process.wait(timeout=20) == -signal.SIGTERM


def test_a_pod_that_is_taken_away_lets_its_worker_finish(tmp_path: Path) -> None:
    script = (
        "def stop(*_): time.sleep(1); print('finished'); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, stop); print('ready'); time.sleep(60)"
    )
    with worker(tmp_path, script) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.wait(timeout=20) == 0
        assert process.stdout.readline() == "finished\n"


def test_the_pod_gets_more_time_than_its_worker_takes_to_drain() -> None:
    assert POD["terminationGracePeriodSeconds"] > 100 + 20  # LEVERET_WORKER_DRAIN_S and what follows it
    assert POD.get("restartPolicy", "Always") == "Always"
    [own_id] = [e for e in CONTAINER["env"] if e["name"] == "LEVERET_WORKER_ID"]
    assert own_id["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"


def test_the_variables_that_are_set_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    told = re.findall(r"--env (LEVERET_\w+)=", USER_DATA.read_text())
    told += [entry["name"] for entry in CONTAINER["env"]]
    for name in {*told}:
        monkeypatch.setenv(name, {"LEVERET_WORKER_PREEMPTION": "ec2"}.get(name, "cpu"))

    assert len(told) == 4 + 3
    assert read_settings(WorkerSettings).worker.preemption == "ec2"


def test_the_role_has_what_the_adapter_asks_for_and_no_more() -> None:
    role, *_ = yaml.safe_load_all((KUBERNETES / "scaler-role.yaml").read_text())
    assert {(tuple(r["resources"]), tuple(r["verbs"])) for r in role["rules"]} == {
        (("deployments",), ("get", "patch")),
        (("deployments/scale",), ("get", "update")),
        (("pods",), ("list", "patch")),
    }


STUBS = {
    "curl": 'case "$*" in *token) echo secret;; *instance-id) echo i-0abc;; *region) echo eu-west-1;; esac',
    "aws": 'case "$*" in *secretsmanager*) echo LEVERET_REDIS_URL=redis://r;; *ecr*) echo password;; esac',
    "docker": 'case "$1" in login) cat >/dev/null;; image) [ -n "${BAKED-}" ];; esac',
    "shutdown": "",
}


def first_start(folder: Path, device: str = "cuda", **environment: str) -> tuple[int, list[str]]:
    """Run a machine's user data with stand-ins for all that it calls; its exit code and the calls."""
    for name, body in STUBS.items():
        stand_in = folder / name
        stand_in.write_text(f'#!/bin/sh\necho {name} "$@" >>"{folder}/calls"\n{body}\n')
        stand_in.chmod(0o755)
    script = user_data(image="1.ecr/worker:1", queue="images", secret="leveret/worker", device=device)
    ended = subprocess.run(
        ["bash", "-c", script.replace("/run/leveret.env", f"{folder}/env")],
        env=os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"} | environment,
        capture_output=True,
        check=False,
        timeout=30,
    )
    return ended.returncode, (folder / "calls").read_text().splitlines()


def test_a_machine_runs_its_worker_under_its_own_id_and_ends_with_it(tmp_path: Path) -> None:
    code, calls = first_start(tmp_path)

    assert code == 0
    assert [call.split()[:2] for call in calls if call.startswith("docker")] == [
        ["docker", "image"],
        ["docker", "login"],
        ["docker", "pull"],
        ["docker", "run"],
    ]
    run = calls[-2]
    assert "--env LEVERET_WORKER_ID=i-0abc --env LEVERET_WORKER_QUEUE=images" in run
    assert "--env LEVERET_WORKER_PREEMPTION=ec2" in run
    assert "--gpus all" in run
    assert (tmp_path / "env").read_text() == "LEVERET_REDIS_URL=redis://r\n"
    assert (tmp_path / "env").stat().st_mode & 0o777 == 0o600
    assert calls[-1] == "shutdown -h now"


def test_an_image_on_the_machines_own_disk_is_not_pulled(tmp_path: Path) -> None:
    _, calls = first_start(tmp_path, device="cpu", BAKED="1")

    assert not any("pull" in call or "login" in call for call in calls)
    assert "--gpus" not in calls[-2]


@pytest.mark.parametrize("broken", ["curl", "aws", "docker"])
def test_a_start_that_fails_ends_the_machine(
    tmp_path: Path, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STUBS, broken, "exit 7")

    code, calls = first_start(tmp_path)

    assert code != 0
    assert calls[-1] == "shutdown -h now"
