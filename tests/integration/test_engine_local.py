"""The author's loop: a model folder run without servers, from the command line."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
from PIL import Image

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
THUMBNAIL = ROOT / "examples" / "models" / "thumbnail"


async def local(*arguments: object, typed: str = "") -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gpu_worker.engine", "local", *map(str, arguments)),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(typed.encode())
    return process.returncode or 0, out.decode(), err.decode()


@pytest.fixture
def image(tmp_path: Path) -> Path:
    Image.new("RGB", (400, 200), "red").save(tmp_path / "x.png")
    return tmp_path / "x.png"


def write_model(root: Path, code: str) -> Path:
    (root / "model.toml").write_text(
        'name = "mine"\nbackend = "python"\nhandler = "mine:work"\n'
        '[inputs.given]\nkind = "json"\n[outputs.made]\nkind = "json"\n'
    )
    (root / "mine.py").write_text(code)
    return root


async def test_a_folder_runs(image: Path, tmp_path: Path) -> None:
    code, out, _ = await local(THUMBNAIL, f"image=@{image}", "size=100", "--out", tmp_path / "made")
    assert code == 0
    assert "thumbnail.png (image/png) width=100 height=50" in out
    assert "infer" in out
    with Image.open(tmp_path / "made" / "thumbnail.png") as small:
        assert small.size == (100, 50)


async def test_json_stays_json_whatever_the_algorithm_prints(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "def work(given):\n    print('noise')\n    return given\n")
    code, out, err = await local(folder, 'given={"a": 1}', "--json", "--out", tmp_path / "made")
    assert code == 0
    result = json.loads(out)
    assert result["outputs"]["made"]["path"] == str(tmp_path / "made" / "made.json")
    assert json.loads((tmp_path / "made" / "made.json").read_bytes()) == {"a": 1}
    assert result["timings"].keys() == {"prepare_s", "infer_s", "finish_s"}
    assert "noise" in err


async def test_a_failure_shows_the_author_s_own_frames(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "def work(given):\n    return given['b']\n")
    code, _, err = await local(folder, "given={}", "--out", tmp_path / "made")
    assert code == 1
    assert "KeyError: 'b'" in err
    assert "mine.py" in err
    assert "runner.py" not in err


async def test_what_an_algorithm_started_ends_with_the_run(tmp_path: Path) -> None:
    code = """
import os, subprocess, time
def work(given):
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    plain = subprocess.Popen(["sleep", "987655"], **quiet)
    apart = subprocess.Popen(["setsid", "sleep", "987655"], **quiet)
    fork = os.fork()
    if not fork:
        time.sleep(987655)
    return [plain.pid, apart.pid, fork]
"""
    done, _, err = await local(write_model(tmp_path, code), "given=1", "--out", tmp_path / "made")
    assert done == 0, err
    started = json.loads((tmp_path / "made" / "made.json").read_bytes())
    assert [pid for pid in started if Path(f"/proc/{pid}").exists()] == []


async def test_pdb_opens_where_it_failed(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "def work(given):\n    return given['b']\n")
    code, out, _ = await local(
        folder, 'given={"z": 5}', "--pdb", "--out", tmp_path / "made", typed="p given\nq\n"
    )
    assert code == 1
    assert "{'z': 5}" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["imge=@x"], "imge=@x' is not NAME=VALUE with one of this model's names: image, size"),
        (["image=@/no/such/file"], "there is no file '/no/such/file'"),
        (["image=x"], "as image=@FILE"),
        ([], "inputs.image: is required"),
        (["size=big"], "params.size: must be of type integer"),
        (["size=0"], "params.size: must be at least"),
    ],
)
async def test_a_wrong_word_is_explained(tmp_path: Path, arguments: list[str], said: str) -> None:
    code, _, err = await local(THUMBNAIL, *arguments, "--out", tmp_path / "made")
    assert code == 2
    assert said in err
    assert [line.split(":")[0] for line in err.splitlines()] == ["leveret", "  hint"]


async def test_a_word_that_is_no_json_is_text(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "def work(given):\n    return given\n")
    await local(folder, "given=soft", "--out", tmp_path / "made")
    assert json.loads((tmp_path / "made" / "made.json").read_bytes()) == "soft"


@pytest.mark.parametrize(
    ("code", "options", "said"),
    [
        ("def work(given): return {1}", [], "outputs.made: not JSON: set has no JSON form"),
        ("def work(given): raise BadInput('too\\nblue')", [], "too blue"),
        ("def work(given): raise Retry('not yet')", [], "not yet"),
        ("def work(): ...", [], "mine@1: mine:work has no parameter 'given'"),
        ("def work(given): return 1", ["--out", "/proc/nowhere"], "-o /proc/nowhere: can't write there"),
        pytest.param(
            "def work(given): return 1",
            ["--device", "cuda"],
            "device cuda: ",
            marks=pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="there is a GPU here"),
        ),
    ],
)
async def test_a_mistake_is_one_line_and_a_hint(
    tmp_path: Path, code: str, options: list[str], said: str
) -> None:
    folder = write_model(tmp_path, f"from gpu_worker.handlers import BadInput, Retry\n{code}\n")
    exit_code, _, err = await local(folder, "given=1", "--out", tmp_path / "made", *options)
    assert exit_code in {1, 2}
    assert err.startswith(f"leveret: {said}")
    assert [line.split(":")[0] for line in err.splitlines()] == ["leveret", "  hint"]


async def test_an_image_of_nothing_is_one_line(image: Path, tmp_path: Path) -> None:
    folder = write_model(tmp_path, "def work(given):\n    return None\n")
    source = folder / "model.toml"
    source.write_text(source.read_text().replace('"json"', '"image"'))
    code, _, err = await local(folder, f"given=@{image}", "--out", tmp_path / "made")
    assert code == 1
    assert err.startswith(
        "leveret: outputs.made: expected an image, not NoneType\n  hint: [outputs] in model"
    )


async def test_a_truncated_image_is_one_line(image: Path, tmp_path: Path) -> None:
    Image.effect_noise((200, 200), 50).save(image)
    image.write_bytes(image.read_bytes()[:5000])
    code, _, err = await local(THUMBNAIL, f"image=@{image}", "--out", tmp_path / "made")
    assert code == 1
    assert err.startswith("leveret: inputs.image: the image is damaged: ")
    assert len(err.splitlines()) == 2


async def test_a_missing_graph_is_one_line(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "class work: ...\n")
    source = folder / "model.toml"
    source.write_text('file = "model.onnx"\n' + source.read_text().replace('"python"', '"onnx"'))
    code, _, err = await local(folder, "given=1", "--out", tmp_path / "made")
    assert code == 1
    assert err.startswith(f"leveret: mine@1: there is no file {folder / 'model.onnx'}")
    assert len(err.splitlines()) == 2


@pytest.mark.parametrize(
    ("code", "last"),
    [("def work(given:\n", "SyntaxError: '(' was never closed"), ("import nothing_such\n", "nothing_such'")],
)
async def test_code_that_does_not_load_shows_the_author_s_own_lines(
    tmp_path: Path, code: str, last: str
) -> None:
    folder = write_model(tmp_path, code)
    exit_code, _, err = await local(folder, "given=1", "--out", tmp_path / "made")
    assert exit_code == 1
    assert last in err
    assert "mine.py" in err
    assert "importlib" not in err
    assert "handler.py" not in err


async def test_debug_shows_the_whole_way(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "def work(given):\n    return {1}\n")
    _, _, err = await local(folder, "given=1", "--out", tmp_path / "made", "--debug")
    assert "values.py" in err


async def test_a_killed_algorithm_is_told(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "import os\ndef work(given):\n    os.kill(os.getpid(), 9)\n")
    code, _, err = await local(folder, "given=1", "--out", tmp_path / "made")
    assert code == 1
    assert "killed by SIGKILL" in err


async def test_a_folder_without_a_model_is_explained(tmp_path: Path) -> None:
    code, _, err = await local(tmp_path)
    assert code == 2
    assert "model.toml: missing" in err
