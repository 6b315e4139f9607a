"""What the examples in deploy/ promise: the worker's command in its pod, with a stand-in for the worker."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

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


def test_the_role_has_what_the_adapter_asks_for_and_no_more() -> None:
    role, *_ = yaml.safe_load_all((KUBERNETES / "scaler-role.yaml").read_text())
    assert {(tuple(r["resources"]), tuple(r["verbs"])) for r in role["rules"]} == {
        (("deployments",), ("get", "patch")),
        (("deployments/scale",), ("get", "update")),
        (("pods",), ("list", "patch")),
    }
