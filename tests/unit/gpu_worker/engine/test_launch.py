from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gpu_worker.engine import launch


def test_the_environment_is_an_allow_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {"PATH": "/bin", "LC_ALL": "C", "CUDA_HOME": "/cuda", "NVIDIA_VISIBLE_DEVICES": "all", "TF_X": "1"}
    dropped = {
        "LEVERET_URL": "x",
        "AWS_PROFILE": "x",
        "PGPASSWORD": "x",
        "TF_API_KEY": "x",
        "KERAS_TOKEN": "x",
    }
    for name, value in (kept | dropped).items():
        monkeypatch.setenv(name, value)
    made = launch.environment(tmp_path, device=launch.Device("cuda"))
    assert made.items() >= kept.items()
    assert not made.keys() & dropped.keys()


def test_a_gpu_is_hidden_from_a_cpu_engine_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert launch.environment(tmp_path, device=launch.Device("cpu"))["CUDA_VISIBLE_DEVICES"] == ""
    assert launch.environment(tmp_path, device=launch.Device("cuda"))["CUDA_VISIBLE_DEVICES"] == "3"


def test_an_engine_with_a_gpu_of_its_own_sees_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")
    made = launch.environment(tmp_path, device=launch.Device("cuda", gpu="GPU-b", share=2))
    assert made["CUDA_VISIBLE_DEVICES"] == "GPU-b"


SPY = """
import ctypes, os, subprocess, sys, types
if os.getuid() == 0:
    os.setgid(65534); os.setuid(65534)
    ctypes.CDLL(None).prctl(4, 1)  # changing the user closed it already
spy = "import os; print('s3cret' in open(f'/proc/{os.getppid()}/environ').read())"
look = lambda: subprocess.run([sys.executable, '-c', spy], env={}, capture_output=True, text=True)
before = look().stdout
launch = sys.modules['launch'] = types.ModuleType('launch')
launch.__file__ = '/'
exec(sys.argv[1], launch.__dict__)
launch.hide_worker()
print(before.strip(), 'PermissionError' in look().stderr)
"""


@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="needs a Python that any user may run")
def test_an_engine_can_not_read_the_worker_s_environment() -> None:
    command = ["/usr/bin/python3", "-c", SPY, Path(launch.__file__).read_text()]
    done = subprocess.run(
        command, env={"SECRET": "s3cret"}, capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout == "True True\n"


def test_only_the_engine_s_rooms_can_be_imported(tmp_path: Path) -> None:
    path = launch.python_path(tmp_path)
    assert [entry.name for entry in path.iterdir()] == ["gpu_worker"]
    assert {entry.name for entry in (path / "gpu_worker").iterdir()} == {"__init__.py", "engine", "handlers"}
    assert launch.python_path(tmp_path) == path
