from __future__ import annotations

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
    made = launch.environment(tmp_path, device="cuda")
    assert made.items() >= kept.items()
    assert not made.keys() & dropped.keys()


def test_a_gpu_is_hidden_from_a_cpu_engine_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert launch.environment(tmp_path, device="cpu")["CUDA_VISIBLE_DEVICES"] == ""
    assert launch.environment(tmp_path, device="cuda")["CUDA_VISIBLE_DEVICES"] == "3"


def test_only_the_engine_s_rooms_can_be_imported(tmp_path: Path) -> None:
    path = launch.python_path(tmp_path)
    assert [entry.name for entry in path.iterdir()] == ["gpu_worker"]
    assert {entry.name for entry in (path / "gpu_worker").iterdir()} == {"__init__.py", "engine", "handlers"}
    assert launch.python_path(tmp_path) == path
