"""Raw tensors in and out, and files that are none: nothing is unpickled, nothing allocated on a promise."""

from __future__ import annotations

import io
import pickle
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from gpu_worker.engine.job import BadInputError
from gpu_worker.engine.spec import SpecError
from gpu_worker.handlers.arrays import read_npy, read_npz
from gpu_worker.handlers.tensors import Tensors
from tests import onnx_graphs as graphs
from tests.unit.gpu_worker.handlers.loading import count_runs, load_with, named

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SUM = graphs.model(
    [graphs.node("Add", ["a", "b"], ["sum"]), graphs.node("Sub", ["a", "b"], ["difference"])],
    {"a": ("float32", ["n", 3]), "b": ("float32", ["n", 3])},
    {"sum": ("float32", ["n", 3]), "difference": ("float32", ["n", 3])},
)
TWO = graphs.identity(["n", 3])
BYTES = {"y": "bytes"}


def load(folder: Path, graph: bytes, names: str, declared: dict[str, str], /, **options: Any) -> Tensors:
    """With inputs of these names."""
    kinds = dict.fromkeys(names.split(), "bytes")
    return load_with(Tensors(), folder, graph, inputs=kinds, outputs=declared, options=options)


def npy(array: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def npz(**arrays: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    return stream.getvalue()


def rows(*values: float) -> NDArray[np.float32]:
    return np.asarray([[value] * 3 for value in values], np.float32)


def run(handler: Tensors, **inputs: bytes) -> dict[str, NDArray[Any]]:
    item = handler.prepare(**inputs)
    (raw,) = handler.infer([item])
    return named(handler._outputs, handler.finish(item, raw))


def test_tensors_go_by_their_names(tmp_path: Path) -> None:
    handler = load(tmp_path, SUM, "a b", {"difference": "bytes", "sum": "json"})
    made = run(handler, b=npy(rows(1, 2)), a=npy(rows(5, 7)))
    assert made["sum"].tolist() == rows(6, 9).tolist()
    assert made["difference"].tolist() == rows(4, 5).tolist()


def test_other_names_go_by_their_order_or_as_said(tmp_path: Path) -> None:
    handler = load(tmp_path, SUM, "left right", {"first": "bytes"})
    assert run(handler, left=npy(rows(5)), right=npy(rows(3)))["first"].tolist() == rows(8).tolist()
    said = {"inputs": {"left": {"graph": "b"}}, "outputs": {"first": "difference"}}
    handler = load(tmp_path, SUM, "left right", {"first": "bytes"}, **said)
    assert run(handler, left=npy(rows(5)), right=npy(rows(3)))["first"].tolist() == rows(-2).tolist()


def test_one_file_may_hold_several(tmp_path: Path) -> None:
    options = {"inputs": {"both": {"format": "npz"}}}
    handler = load(tmp_path, SUM, "both", {"sum": "bytes"}, **options)
    assert run(handler, both=npz(a=rows(5), b=rows(3)))["sum"].tolist() == rows(8).tolist()
    with pytest.raises(BadInputError, match="the graph's input b was not given"):
        handler.prepare(both=npz(a=rows(5)))
    with pytest.raises(BadInputError, match=r"inputs\.both: the graph has no input 'c'"):
        handler.prepare(both=npz(a=rows(5), c=rows(5)))


@pytest.mark.parametrize(("dtype", "shape"), [("float32", [-1, 3]), ("float16", [2, 3]), ("uint8", [-1, 3])])
def test_raw_bytes_have_the_declared_form(tmp_path: Path, dtype: str, shape: list[int]) -> None:
    options = {"inputs": {"x": {"format": "raw", "dtype": dtype, "shape": shape}}}
    handler = load(tmp_path, TWO, "x", BYTES, **options)
    assert run(handler, x=rows(1, 2).astype(dtype).tobytes())["y"].tolist() == rows(1, 2).tolist()
    with pytest.raises(BadInputError, match=r"inputs\.x: 5 bytes are no"):
        handler.prepare(x=b"12345")


PLAIN = [
    rows(1, 2),
    np.asfortranarray(rows(1, 2)),
    rows(1, 2).astype(">f4"),
    np.empty((0, 3), np.float32),
    rows(1).astype(np.int8),
]


@pytest.mark.parametrize("array", PLAIN)
def test_every_plain_array_fits(tmp_path: Path, array: NDArray[Any]) -> None:
    handler = load(tmp_path, TWO, "x", BYTES)
    assert run(handler, x=npy(array))["y"].tolist() == array.astype(np.float32).tolist()


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((1, 4), np.float32), r"inputs\.x: is \[1, 4\], the graph's input is x float32\[\?, 3\]"),
        (np.zeros(3, np.float32), r"inputs\.x: is \[3\]"),
        (np.zeros((1, 3), np.float64), r"inputs\.x: is float64, the graph's input is x float32"),
        (np.zeros((1, 3), np.complex64), r"inputs\.x: is complex64"),
        (np.zeros((1, 3), "U4"), r"inputs\.x: is <U4"),
    ],
)
def test_an_array_that_does_not_fit_the_graph_is_refused(tmp_path: Path, array: Any, said: str) -> None:
    handler = load(tmp_path, TWO, "x", BYTES)
    with pytest.raises(BadInputError, match=said):
        handler.prepare(x=npy(array))


def header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def objects() -> bytes:
    return header("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n") + pickle.dumps([print])


HOSTILE = [
    (b"", "not an .npy file"),
    (b"\x93NUMPY", "not an .npy file"),
    (b"\x93NUMPY\x01\x00\xff\xff{", "not an .npy file"),
    (b"\x93NUMPY\x09\x00\x02\x00{}", "not an .npy file"),
    (pickle.dumps([1]), "not an .npy file"),
    (objects(), "holds Python objects, which are never unpickled"),
    (header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }\n"), "cut off or longer"),
    (
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -3), }\n") + b"0" * 12,
        "cut off or longer",
    ),
    (
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 9" + "9" * 40 + "), }\n"),
        "cut off or longer",
    ),
    (header("__import__('os').system('true')\n"), "not an .npy file"),
    (header("{'descr': '<f4', 'fortran_order': False, 'shape': 3}\n"), "not an .npy file"),
    (header("(" * 9000), "not an .npy file"),
    (header("{'descr': 'L4', \n\t 'x"), "not an .npy file"),
    (npy(rows(1))[:-1], "cut off or longer"),
    (npy(rows(1)) + b"0", "cut off or longer"),
]


@pytest.mark.parametrize(("data", "said"), HOSTILE)
def test_a_hostile_npy_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        read_npy("x", data)


def zipped(**files: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not an .npz file"),
        (b"PK\x05\x06" + b"\0" * 17, "not an .npz file"),
        (zipped(x=b"0" * 2_000_000), "unpacks to more than 1000000 bytes"),
        (zipped(**{"x.npy": objects()}), r"inputs\.x\.x: holds Python objects"),
        (zipped(**{"x.npy": b"no array"}), r"inputs\.x\.x: not an .npy file"),
        (npz(x=rows(1)).replace(b"x.npy", b"y.npy", 1), "not an .npz file"),
    ],
)
def test_a_hostile_npz_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        read_npz("x", data, 1_000_000)


def test_a_damaged_npz_is_refused() -> None:
    whole = npz(x=np.arange(1000.0))
    for place in range(0, len(whole), 7):
        data = whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :]
        try:
            read_npz("x", data, 1_000_000)
        except BadInputError as error:
            assert str(error).startswith("inputs.x")  # noqa: PT017  some bytes say nothing


def test_jobs_share_a_run_only_where_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for batch, expected in ((True, [3, 1]), (False, [1, 2, 1])):
        graph = graphs.identity(["n", "m"])
        handler = load(tmp_path, graph, "x", BYTES, batch=batch)
        runs = count_runs(handler._session, monkeypatch)
        items = [
            handler.prepare(x=npy(array)) for array in (rows(1), rows(2, 3), np.zeros((1, 5), np.float32))
        ]
        made = [handler.finish(item, raw) for item, raw in zip(items, handler.infer(items), strict=True)]
        assert [array.tolist() for array in made] == [rows(1).tolist(), rows(2, 3).tolist(), [[0] * 5]]
        assert runs == expected


@pytest.mark.parametrize(
    ("outputs", "options", "said"),
    [
        ({"y": "image"}, {}, r"outputs\.y: Tensors makes bytes or json, not image"),
        (
            BYTES,
            {"inputs": {"x": {"format": "pickle"}}},
            r"options\.inputs\.x\.format: must be one of npy, npz, raw",
        ),
        (
            BYTES,
            {"inputs": {"x": {"graph": "z"}}},
            r"options\.inputs\.x\.graph: the graph has no 'z'; it has x",
        ),
        (BYTES, {"inputs": {"z": {}}}, r"options\.inputs\.z: model.toml declares no such input"),
        ({"y": "bytes", "z": "bytes"}, {}, r"options\.outputs\.z: the graph has none left for it; it has y"),
        (
            BYTES,
            {"inputs": {"x": {"format": "raw"}}},
            r"options\.inputs\.x\.shape: must be said for raw bytes",
        ),
        (BYTES, {"inputs": {"x": {"shape": [-1, -1]}}}, r"at most one of them -1"),
        (BYTES, {"inputs": {"x": {"dtype": "float33"}}}, r"NumPy has no 'float33'"),
        (BYTES, {"outputs": {"y": "z"}}, r"options\.outputs\.y: the graph has no 'z'"),
        (BYTES, {"outputs": {"w": "y"}}, r"options\.outputs\.w: no such option; known here: y"),
        (BYTES, {"bach": True}, r"did you mean 'batch'\?"),
    ],
)
def test_what_does_not_fit_is_said_when_it_loads(
    tmp_path: Path, outputs: dict[str, str], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(SpecError, match=said):
        load(tmp_path, TWO, "x", outputs, **options)


def test_an_input_of_another_kind_is_said_when_it_loads(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"inputs\.x: Tensors takes inputs of kind bytes"):
        load_with(Tensors(), tmp_path, TWO, inputs={"x": "image"}, outputs=BYTES, options={})


def test_a_fixed_first_dimension_can_not_be_joined(tmp_path: Path) -> None:
    with pytest.raises(
        SpecError, match=r"options\.batch: the first dimension of x float32\[2, 3\] is not dynamic"
    ):
        load(tmp_path, graphs.identity([2, 3]), "x", BYTES, batch=True)
