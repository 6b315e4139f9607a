from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from shared.catalog import CatalogError, check_catalog, load_catalog, load_model, write_index
from shared.catalog.__main__ import main
from shared.catalog.index import read_index

TOML = """
name = "{name}"
backend = "{backend}"
handler = "{handler}"
[inputs.image]
kind = "image"
[outputs.image]
kind = "image"
[params.size]
type = "integer"
default = 8
"""
CODE = "def run(image, size):\n    return image\n"


def make(
    root: Path, name: str = "fit", *, code: str = CODE, handler: str = "code:run", backend: str = "python"
) -> Path:
    folder = root / name
    folder.mkdir()
    text = TOML.format(name=name, handler=handler, backend=backend)
    if backend == "onnx":
        (folder / "model.onnx").write_bytes(b"graph")
        text = f'file = "model.onnx"{text}'
    (folder / "model.toml").write_text(text)
    (folder / "code.py").write_text(code)
    return folder


def told(path: Path) -> list[str]:
    return [
        str(mistake).removeprefix(f"{path.resolve()}").lstrip("/")
        for mistake in check_catalog(path).mistakes
        if mistake.fatal
    ]


def test_a_good_model_and_a_good_catalog_have_none(tmp_path: Path) -> None:
    folder = make(tmp_path)
    for path in (folder, tmp_path):
        report = check_catalog(path)
        assert report.ok
        assert report.mistakes == ()
        assert [model.ref for model in report.models] == ["fit@1"]


def test_every_mistake_of_every_model_is_told(tmp_path: Path) -> None:
    (make(tmp_path, "one") / "model.toml").write_text('name = "one"\nbackend = "pyton"\nhandlr = "x"\n')
    make(tmp_path, "two", handler="code:rum")
    make(tmp_path, "three", handler="cde:run")
    (make(tmp_path, "four") / "model.toml").write_text("name = ")
    said = told(tmp_path)
    assert any(line.startswith("four/model.toml: not readable as TOML") for line in said)
    assert "one/model.toml: handlr: unknown key; did you mean `handler`?" in said
    assert any(line.startswith("one/model.toml: backend: Input should be") for line in said)
    assert any(line.startswith("one/model.toml: inputs: Field required") for line in said)
    assert "two/model.toml: handler: code.py has no 'rum'; did you mean `run`?" in said


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "def run(image):\n    pass\n",
            "code.py:1: run() has no parameter 'size', which model.toml declares",
        ),
        (
            "def run(image, size, mode):\n    pass\n",
            "code.py:1: run() needs 'mode', which model.toml does not declare",
        ),
        ("def run(image, size:\n", "code.py: not readable as Python in line 1"),
        ("class run:\n    pass\n", "code.py:1: class run has no method infer(items)"),
        (
            "class run:\n    def prepare(self, image): ...\n    def infer(self, items): ...\n",
            "code.py:2: prepare() has no parameter 'size'",
        ),
        (
            "class run:\n    def load(self): ...\n    def infer(self, items): ...\n",
            "code.py:2: load() cannot be called as load(model)",
        ),
        (
            "class run:\n    def __init__(self, size): ...\n    def infer(self, items): ...\n",
            "code.py:2: __init__() cannot be called as __init__()",
        ),
        (
            "class run:\n    def warm_up(self, *, n): ...\n    def infer(self, items): ...\n",
            "code.py:2: warm_up() cannot be called as warm_up()",
        ),
    ],
)
def test_code_that_does_not_fit_is_told_by_its_line(tmp_path: Path, code: str, said: str) -> None:
    (mistake,) = told(make(tmp_path, code=code))
    assert mistake.startswith(said)


@pytest.mark.parametrize(
    "code",
    [
        "async def run(*, image, size=3, job): ...",
        "def run(**values): ...",
        "def run(image, size, mode='soft'): ...",
        "from elsewhere import run",
        "from elsewhere import *",
        "try:\n    from fast import run\nexcept ImportError:\n    def run(image): ...\n",
        "import functools\n@functools.cache\ndef run(x): ...",
        "run = lambda image, size: image",
        "class run(Base): ...",
        "class run:\n    def infer(self, items): ...",
        "class run:\n    def load(self, *_): ...\n    def infer(self, items): ...",
        "class run:\n    def __init__(self, n=3): ...\n    def infer(self, items): ...",
        "class run:\n    @staticmethod\n    def load(model): ...\n    def infer(self, items): ...",
        "def __getattr__(name): ...",
    ],
)
def test_code_that_may_well_fit_is_left_alone(tmp_path: Path, code: str) -> None:
    assert told(make(tmp_path, code=code)) == []


def test_nothing_of_the_code_runs(tmp_path: Path) -> None:
    folder = make(tmp_path, code=f"{CODE}\nopen('{tmp_path}/ran', 'w')\n")
    assert told(folder) == []
    assert not (tmp_path / "ran").exists()


def test_a_graph_needs_a_class(tmp_path: Path) -> None:
    (mistake,) = told(make(tmp_path, backend="onnx"))
    assert mistake.startswith('code.py:1: backend "onnx" needs a class')


def test_a_missing_graph_hides_nothing_else(tmp_path: Path) -> None:
    folder = make(tmp_path, backend="onnx")
    (folder / "model.onnx").unlink()
    one, two = told(folder)
    assert one == "model.toml: file: there is no 'model.onnx' in this folder; put it there"
    assert two.startswith('code.py:1: backend "onnx" needs a class')


def test_a_plain_function_shares_no_batch(tmp_path: Path) -> None:
    folder = make(tmp_path)
    with (folder / "model.toml").open("a") as toml:
        toml.write("[batching]\nmax_batch_size = 4\n")
    (mistake,) = told(folder)
    assert mistake == "code.py:1: [batching] wants a class with infer(items), not a plain function"


def test_an_empty_graph_is_told(tmp_path: Path) -> None:
    folder = make(tmp_path, code="class run:\n    def infer(self, items): ...\n", backend="onnx")
    (folder / "model.onnx").write_bytes(b"")
    assert told(folder) == ["model.onnx: empty; an ONNX graph was expected"]


def test_a_model_may_be_linked_into_the_catalog_and_is_called_as_the_link(tmp_path: Path) -> None:
    work, catalog = tmp_path / "work", tmp_path / "models"
    work.mkdir()
    catalog.mkdir()
    folder = make(work).rename(work / "draft-3")
    (catalog / "fit").symlink_to(folder)
    write_index(catalog)
    for path in (catalog, catalog / "fit"):
        assert check_catalog(path).mistakes == ()
        assert check_catalog(path).models[0].digests is not None
    assert load_catalog(catalog).find("fit@1") is not None
    # And what it leads to is compared with what was pinned
    (folder / "code.py").write_text(CODE + "\n")
    (mistake,) = check_catalog(catalog).mistakes
    assert "the index pins" in str(mistake)


def test_a_link_by_another_name_and_one_that_leads_nowhere_are_told(tmp_path: Path) -> None:
    work, catalog = tmp_path / "work", tmp_path / "models"
    work.mkdir()
    catalog.mkdir()
    (catalog / "fits").symlink_to(make(work))
    (catalog / "gone").symlink_to(tmp_path / "nowhere")
    one, two = map(str, check_catalog(catalog).mistakes)
    assert one.endswith("holds fit@1; name the folder `fit` or `fit@1` (it is linked as 'fits')")
    assert two == f"{catalog}/gone: a link to {tmp_path}/nowhere, which is not there"


def test_a_linked_folder_within_a_model_must_not_lead_out_of_it(tmp_path: Path) -> None:
    folder = make(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "code.py").touch()
    (folder / "real").mkdir()
    (folder / "inside").symlink_to(folder / "real")
    assert told(folder) == []
    (folder / "tools").symlink_to(tmp_path / "elsewhere")
    (mistake,) = told(folder)
    assert mistake.startswith("tools: a link to a folder outside of the model's")
    # And an engine does not load what the index cannot pin
    write_index(tmp_path)
    (mistake,) = told(folder)
    assert mistake.startswith("tools: a link to a folder outside of the model's")
    model = load_model(folder, read_index(tmp_path)["fit"])
    with pytest.raises(CatalogError, match="a link to a folder outside"):
        model.verify()


def test_what_only_the_worker_can_know_is_no_error(tmp_path: Path) -> None:
    folder = make(tmp_path, handler="torchvision.models:run")
    with (folder / "model.toml").open("r+") as toml:
        text = toml.read()
        toml.seek(0)
        toml.write(f'interpreter = "/nowhere/python"{text}')
    report = check_catalog(folder)
    assert report.ok
    assert [mistake.key for mistake in report.mistakes] == ["handler", "interpreter"]


def test_a_ready_made_handler_is_looked_up(tmp_path: Path) -> None:
    assert told(make(tmp_path, handler="gpu_worker.handlers.nothing:X")) == [
        "model.toml: handler: there is no ready-made handler module 'gpu_worker.handlers.nothing'"
    ]


def test_every_file_that_is_not_as_pinned_is_told(tmp_path: Path) -> None:
    folder = make(tmp_path)
    make(tmp_path, "gone")
    write_index(tmp_path)
    (folder / "code.py").write_text(CODE + "\n")
    (folder / "extra.bin").touch()
    (tmp_path / "gone" / "model.toml").unlink()
    said = told(tmp_path)
    assert [line.partition(":")[0] for line in said] == ["fit/code.py", "fit/extra.bin", "index.json"]
    assert "pins 'gone'" in said[2]
    assert told(folder) == [line.removeprefix("fit/") for line in said[:2]]


@pytest.mark.parametrize(
    "index",
    [
        '{"format": 1, "models": {"fit": {"../x": "%s"}}}' % ("0" * 64),
        '{"format": 1, "models": {"fit": {"/etc/x": "%s"}}}' % ("0" * 64),
        '{"format": 1, "models": {"a/b": {}}}',
        '{"format": 1, "models": {"..": {}}}',
        '{"format": 1, "models": {"fit": {"x": "beef"}}}',
        '{"format": 1, "models": {"fit": {"x": null}}}',
    ],
)
def test_an_index_that_names_places_outside_is_refused(tmp_path: Path, index: str) -> None:
    make(tmp_path)
    (tmp_path / "index.json").write_text(index)
    (mistake,) = told(tmp_path)
    assert mistake.startswith("index.json: not a catalog index")


def test_an_empty_and_a_missing_folder(tmp_path: Path) -> None:
    assert "start one: leveret models new NAME" in str(check_catalog(tmp_path).mistakes[0])
    with pytest.raises(CatalogError, match="no such folder"):
        check_catalog(tmp_path / "nowhere")


def test_the_command_tells_by_its_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path)
    assert main(["check", str(tmp_path)]) == 0
    assert "well: fit@1" in capsys.readouterr().out
    make(tmp_path, "bad", handler="code:rum")
    assert main(["check", str(tmp_path), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["ok"], report["mistakes"][0]["key"]) == (False, "handler")
    assert main(["check", str(tmp_path / "nowhere")]) == 2
    assert main(["check"]) == 1  # a folder of this name, which is not there
    assert main([]) == main(["--json", "x"]) == 2
    assert not (tmp_path / "index.json").exists()


def test_the_module_starts() -> None:
    done = subprocess.run([sys.executable, "-m", "shared.catalog"], capture_output=True, check=False)
    assert done.returncode == 2
