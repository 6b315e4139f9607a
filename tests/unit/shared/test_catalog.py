from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from shared.catalog import CatalogError, Given, load_catalog, load_model, write_index

if TYPE_CHECKING:
    from pathlib import Path

MATTING = """
name = "matting"
version = "1"
description = "Cuts out"
queue = "images"
backend = "python"
handler = "matting:cut_out"
timeout_s = 5

[inputs.image]
kind = "image"
max_bytes = 100
content_types = ["image/png", "image/jpeg"]

[inputs.hints]
kind = "json"
required = false

[outputs.cutout]
kind = "image"

[params.threshold]
type = "number"
default = 0.5
minimum = 0
maximum = 1

[params.mode]
type = "string"
choices = ["fast", "fine"]
required = true

[options]
threads = 2
"""


def make(root: Path, text: str = MATTING, folder: str = "matting") -> Path:
    (root / folder).mkdir()
    (root / folder / "model.toml").write_text(text)
    return root / folder


def test_a_model_is_read_with_its_defaults(tmp_path: Path) -> None:
    make(tmp_path)
    model = load_catalog(tmp_path).models[0]
    assert (model.ref, model.queue, model.max_attempts, model.timeout_s) == ("matting@1", "images", 3, 5)
    assert model.outputs["cutout"].content_type == "image/png"
    assert model.options == {"threads": 2}
    assert model.path is None


def test_the_newest_version_is_found_by_name_and_each_by_its_own(tmp_path: Path) -> None:
    for version in ("9", "10", "10rc1"):
        make(tmp_path, MATTING.replace('version = "1"', f'version = "{version}"'), f"matting@{version}")
    catalog = load_catalog(tmp_path)
    newest, older = catalog.find("matting"), catalog.find("matting@9")
    assert newest is not None
    assert newest.version == "10"
    assert older is not None
    assert older.version == "9"
    assert catalog.find("matting@11") is None
    assert catalog.find("matin") is None


def test_queues_are_those_of_the_models(tmp_path: Path) -> None:
    make(tmp_path)
    make(tmp_path, MATTING.replace('"matting"', '"plain"').replace('queue = "images"', ""), "plain")
    assert load_catalog(tmp_path).queues == ("default", "images")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('queue = "images"', 'quue = "images"', "quue: unknown key; did you mean `queue`?"),
        ('kind = "json"', 'kind = "picture"', "inputs.hints.kind: Input should be 'image'"),
        (
            'kind = "json"',
            'kind = "json"\nmaxbytes = 3',
            "inputs.hints.maxbytes: unknown key; did you mean `max_bytes`?",
        ),
        ('name = "matting"', 'name = "Mat/ting"', "name: not an allowed form"),
        ("[inputs.image]", '[inputs."a-b"]', "inputs.a-b: not an allowed form"),
        ("[inputs.image]", "[inputs.threshold]", "threshold: one name per input or param"),
        ("[inputs.image]", "[inputs.job]", "`job` is Leveret's own"),
        ("default = 0.5", "default = 7", "params.threshold: its own default or choice 7 must be at most 1"),
        ('backend = "python"', 'backend = "onnx"', "`file` names the .onnx file"),
        ("timeout_s = 5", 'timeout_s = "5"', "timeout_s: Input should be a valid number"),
        ("timeout_s = 5", "timeout_s = 0", "timeout_s: Input should be greater than 0"),
        ("timeout_s = 5", 'folder = "/etc"', "folder: unknown key"),
        ("timeout_s = 5", 'interpreter = "python"', "`interpreter` is the full path of a Python"),
        ("timeout_s = 5", "timeout_s = ", "not readable as TOML"),
        ('handler = "matting:cut_out"', 'handler = "matting"', "handler: not an allowed form"),
        ('backend = "python"', 'backend = "onnx"\nfile = "../x.onnx"', "lies outside the model's folder"),
        ('backend = "python"', 'backend = "onnx"\nfile = "x.onnx"', "there is no 'x.onnx' in this folder"),
        ('name = "matting"', 'name = "other"', "name the folder `other` or `other@1`"),
    ],
)
def test_a_mistake_is_named_with_file_key_and_remedy(tmp_path: Path, old: str, new: str, said: str) -> None:
    folder = make(tmp_path, MATTING.replace(old, new, 1))
    with pytest.raises(CatalogError) as caught:
        load_catalog(tmp_path)
    assert said in str(caught.value)
    assert str(folder) in str(caught.value)


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = make(tmp_path, MATTING.replace('"python"', '"onnx"\nfile = "x.onnx"'))
    (tmp_path / "secret").write_text("x")
    (folder / "x.onnx").symlink_to(tmp_path / "secret")
    with pytest.raises(CatalogError, match="outside the model's folder"):
        load_model(folder)


def test_one_version_twice_is_refused(tmp_path: Path) -> None:
    make(tmp_path)
    make(tmp_path, folder="matting@1")
    with pytest.raises(CatalogError, match="exists twice"):
        load_catalog(tmp_path)


def test_a_missing_catalog_says_which_setting_to_change(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="LEVERET_CATALOG_PATH"):
        load_catalog(tmp_path / "none")


def test_pinned_files_are_verified(tmp_path: Path) -> None:
    # Given a catalog with its index
    folder = make(tmp_path)
    (folder / "weights.bin").write_bytes(b"good")
    write_index(tmp_path)
    model = load_catalog(tmp_path).models[0]
    model.verify()
    # When a file is changed, added or lost, then it is refused by name
    (folder / "weights.bin").write_bytes(b"evil")
    with pytest.raises(CatalogError, match=r"weights\.bin: its sha256 is"):
        model.verify()
    (folder / "weights.bin").unlink()
    with pytest.raises(CatalogError, match=r"weights\.bin: missing"):
        model.verify()
    (folder / "weights.bin").write_bytes(b"good")
    (folder / "extra.py").write_text("")
    with pytest.raises(CatalogError, match=r"extra\.py: not in the catalog's index"):
        model.verify()


def test_an_author_can_add_a_folder_beside_pinned_ones(tmp_path: Path) -> None:
    write_index(tmp_path)
    make(tmp_path)
    model = load_catalog(tmp_path).models[0]
    assert model.digests is None
    model.verify()


@pytest.mark.parametrize("content", ["{", "[]", '{"format":2,"models":{}}', '{"format":1}'])
def test_a_broken_index_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "index.json").write_text(content)
    with pytest.raises(CatalogError, match=r"index\.json"):
        load_catalog(tmp_path)


PNG = Given(content_type="image/png", size=10)


@pytest.mark.parametrize(
    ("given", "problems"),
    [
        ({"image": PNG}, []),
        ({"image": PNG, "hints": Given(inline=True, value={"a": 1})}, []),
        ({"image": Given()}, []),
        ({"image": Given(content_type="application/octet-stream")}, []),
        ({}, [("inputs.image", "is required")]),
        ({"imge": PNG}, [("inputs.imge", "did you mean `image`?"), ("inputs.image", "is required")]),
        ({"image": Given(size=101)}, [("inputs.image", "at most 100")]),
        (
            {"image": Given(content_type="text/html; charset=utf-8")},
            [("inputs.image", "accepted: image/png")],
        ),
        ({"image": Given(inline=True, value=3)}, [("inputs.image", "is of kind image")]),
    ],
)
def test_inputs_are_checked(tmp_path: Path, given: dict[str, Given], problems: list[tuple[str, str]]) -> None:
    assert_problems(load_model(make(tmp_path)).validate_inputs(given), problems)


@pytest.mark.parametrize(
    ("params", "problems"),
    [
        ({"mode": "fast"}, []),
        ({"mode": "fast", "threshold": 1}, []),
        ({}, [("params.mode", "is required")]),
        ({"mode": "slow"}, [("params.mode", "must be one of fast, fine")]),
        ({"mode": 3}, [("params.mode", "must be of type string")]),
        ({"mode": "fast", "threshold": 1.1}, [("params.threshold", "must be at most 1")]),
        ({"mode": "fast", "threshold": True}, [("params.threshold", "must be of type number")]),
        ({"mode": "fast", "threshold": float("nan")}, [("params.threshold", "must be of type number")]),
        ({"mode": "fast", "treshold": 1}, [("params.treshold", "did you mean `threshold`?")]),
    ],
)
def test_params_are_checked(tmp_path: Path, params: dict[str, Any], problems: list[tuple[str, str]]) -> None:
    assert_problems(load_model(make(tmp_path)).validate_params(params), problems)


def assert_problems(found: list[tuple[str, str]], expected: list[tuple[str, str]]) -> None:
    assert [path for path, _ in found] == [path for path, _ in expected]
    for (_, message), (_, part) in zip(found, expected, strict=True):
        assert part in message


def test_defaults_are_filled(tmp_path: Path) -> None:
    assert load_model(make(tmp_path)).fill_params({"mode": "fine"}) == {"threshold": 0.5, "mode": "fine"}


def test_the_public_schema_is_json_and_tells_no_internals(tmp_path: Path) -> None:
    schema = load_model(make(tmp_path)).schema()
    assert json.loads(json.dumps(schema)) == schema
    assert schema["params"]["properties"]["threshold"] == {
        "type": "number",
        "default": 0.5,
        "minimum": 0,
        "maximum": 1,
    }
    assert schema["params"]["required"] == ["mode"]
    assert str(tmp_path) not in json.dumps(schema)


def test_a_model_may_have_no_outputs(tmp_path: Path) -> None:
    make(tmp_path, MATTING.replace('[outputs.cutout]\nkind = "image"\n', ""))
    (model,) = load_catalog(tmp_path).models
    assert (model.outputs, model.schema()["outputs"]) == ({}, {})
