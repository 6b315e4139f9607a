"""From an empty folder to a model that runs: what `leveret models new` writes, `leveret run` runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from gateway.client.cli.app import run
from gateway.client.cli.scaffold import module_for
from shared.catalog import load_model

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 32), "red").save(tmp_path / "photo.png")


def leveret(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "gateway.client", *words]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def test_a_new_model_is_what_the_catalog_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "new", "models/soft-blur", "--queue", "images"]) == 0

    model = load_model(tmp_path / "models" / "soft-blur")
    assert (model.name, model.queue, model.backend) == ("soft-blur", "images", "python")
    assert model.handler == "soft_blur:run"
    assert sorted(path.name for path in model.folder.iterdir()) == ["README.md", "model.toml", "soft_blur.py"]
    assert "leveret run models/soft-blur image=@photo.jpg -o out/" in capsys.readouterr().out


def test_an_onnx_model_lacks_only_its_graph(tmp_path: Path) -> None:
    assert run(["models", "new", "depth", "--backend", "onnx"]) == 0

    (tmp_path / "depth" / "model.onnx").touch()
    assert load_model(tmp_path / "depth").backend == "onnx"
    compile((tmp_path / "depth" / "depth.py").read_text(), "depth.py", "exec")


def test_a_new_model_runs_as_it_is(tmp_path: Path) -> None:
    run(["models", "new", "fit"])

    done = leveret("run", "fit", "image=@photo.png", "size=16", "-o", "out", "--json", folder=tmp_path)

    assert done.returncode == 0, done.stderr
    result = Path(json.loads(done.stdout)["outputs"]["result"]["path"])
    with Image.open(result) as image:
        assert image.size == (16, 8)
    assert "now 16 x 8" in done.stderr


def test_a_failing_algorithm_exits_1_with_its_own_lines(tmp_path: Path) -> None:
    run(["models", "new", "fit"])
    (tmp_path / "fit" / "fit.py").write_text("def run(image, size):\n    raise ValueError('boom')\n")

    done = leveret("run", "fit", "image=@photo.png", folder=tmp_path)

    assert done.returncode == 1
    assert "fit.py" in done.stderr
    assert "ValueError: boom" in done.stderr


def test_pdb_stops_where_it_fails(tmp_path: Path) -> None:
    run(["models", "new", "fit"])
    (tmp_path / "fit" / "fit.py").write_text("def run(image, size):\n    raise ValueError(size)\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "gateway.client", "run", "fit", "image=@photo.png", "size=7", "--pdb"]

    done = subprocess.run(
        words,
        cwd=tmp_path,
        env=environment,
        input="p 'size', size\nq\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert "('size', 7)" in done.stdout


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "fit").mkdir()
    (tmp_path / "fit" / "notes.txt").write_text("mine")

    assert run(["models", "new", "fit"]) == 2

    assert "not empty" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "fit").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("name", ["Upper", "9lives", "a b", "-x/..", "naïve"])
def test_names_that_cannot_be(name: str, tmp_path: Path) -> None:
    assert run(["models", "new", "--", name]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


@pytest.mark.parametrize(
    ("name", "module"), [("fit", "fit"), ("a-b", "a_b"), ("json", "json_model"), ("class", "class_model")]
)
def test_a_models_code_hides_no_other_module(name: str, module: str) -> None:
    assert module_for(name) == module
