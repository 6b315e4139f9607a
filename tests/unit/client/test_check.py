"""`leveret models check`: what the catalog's reader and the engine say, without importing either."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from gateway.client.cli import check
from gateway.client.cli.app import run
from gpu_worker.engine.attempt import Limits
from gpu_worker.settings import WorkerSection


@pytest.fixture(autouse=True)
def _workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    assert run(["models", "new", "fit"]) == 0


def rewrite(path: str, old: str, new: str) -> None:
    text = Path(path).read_text()
    assert old in text
    Path(path).write_text(text.replace(old, new))


def test_a_new_model_is_well_and_loads(capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(["models", "check", "fit", "--load"]) == 0
    assert "✓ fit@1 loaded in" in capsys.readouterr().out


def test_mistakes_are_listed_with_file_key_and_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    rewrite("fit/model.toml", "timeout_s", "timout_s")
    rewrite("fit/model.toml", 'kind = "image"', 'kind = "imge"')

    assert run(["models", "check", "."]) == 1

    said = capsys.readouterr().out
    assert "fit/model.toml: timout_s: unknown key; did you mean `timeout_s`?" in said
    assert "fit/model.toml: inputs.image.kind: Input should be 'image'" in said


def test_a_model_that_does_not_load_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    rewrite(
        "fit/fit.py", "from PIL import Image", "print('loud')\nimport nowhere_at_all\nfrom PIL import Image"
    )

    assert run(["models", "check", "fit"]) == 0
    assert run(["models", "check", "fit", "--load"]) == 1
    assert "No module named 'nowhere_at_all'" in capsys.readouterr().out
    assert run(["models", "check", "fit", "--load", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["ok"], report["loaded"][0]["ok"]) == (False, False)


def test_a_model_that_takes_its_process_down_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    rewrite("fit/fit.py", "from PIL import Image", "import os\nos._exit(7)\nfrom PIL import Image")
    assert run(["models", "check", "fit", "--load"]) == 1
    assert "✗ fit@1 ended with exit status 7" in capsys.readouterr().out


HANGS = "import os, time, pathlib\npathlib.Path({file!r}).write_text(str(os.getpid()))\ntime.sleep(1e4)\n"


def test_a_load_that_hangs_ends_after_the_workers_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pid = tmp_path / "pid"
    rewrite("fit/fit.py", "from PIL import Image", HANGS.format(file=str(pid)) + "from PIL import Image")
    monkeypatch.setenv("LEVERET_WORKER_LOAD_S", "5")
    capsys.readouterr()

    assert run(["models", "check", "fit", "--load"]) == 1

    assert "✗ fit@1 did not load within 5 s (LEVERET_WORKER_LOAD_S)" in capsys.readouterr().out
    with pytest.raises(ProcessLookupError):  # nothing of it goes on
        os.kill(int(pid.read_text()), 0)


@pytest.mark.parametrize("given", ["soon", "0", "-1", "inf", "nan"])
def test_a_limit_that_is_no_number_of_seconds_is_refused_by_its_name(
    given: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LEVERET_WORKER_LOAD_S", given)
    assert run(["models", "check", "fit", "--load"]) == 2
    assert f"LEVERET_WORKER_LOAD_S: a number of seconds above 0, not {given!r}" in capsys.readouterr().err


def test_its_limit_is_the_workers() -> None:
    assert check.LOAD_S == WorkerSection().load_s == Limits().load_s


def test_only_models_without_a_mistake_are_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    run(["models", "new", "wrong"])
    rewrite("wrong/model.toml", "wrong:run", "wrong:rum")
    capsys.readouterr()

    assert run(["models", "check", ".", "--load", "--json"]) == 1

    report = json.loads(capsys.readouterr().out)
    assert [each["ref"] for each in report["loaded"]] == ["fit@1"]
    assert {each["ref"]: each["ok"] for each in report["models"]} == {"fit@1": True, "wrong@1": False}


def test_a_folder_that_is_not_there_is_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "check", "nowhere"]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_without_the_workers_packages_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check, "find_spec", lambda _: None)
    assert run(["models", "check", "fit"]) == 2
    assert "pip install 'leveret[worker]'" in capsys.readouterr().err
