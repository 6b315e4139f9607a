"""Sessions on small graphs: options, shapes, placement, weights in other files. Real ONNX Runtime, no GPU."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from gpu_worker.engine import device
from gpu_worker.engine.graphfile import check_external_data
from gpu_worker.engine.job import ProviderMissingError
from gpu_worker.engine.onnx import OnnxSession, Port, open_session
from gpu_worker.engine.onnx_options import CPU, CUDA, SessionPlan, plan_of
from gpu_worker.engine.spec import ModelSpec, SpecError, spec_of
from tests import onnx_graphs as graphs

SHAPE = [1, 3, 4, 4]
ANOTHER = "AzureExecutionProvider"
"""A provider that every build has and that runs nothing, so that every node is left for the CPU."""


def spec(folder: Path, graph: bytes, **options: Any) -> ModelSpec:
    (folder / "m.onnx").write_bytes(graph)
    table = {
        "name": "m",
        "backend": "onnx",
        "handler": "m:f",
        "file": "m.onnx",
        "inputs": {"x": {"kind": "bytes"}},
        "outputs": {"y": {"kind": "bytes"}},
        "options": options,
    }
    return spec_of(table, folder)


def test_a_session_tells_what_it_takes_and_where_it_runs(tmp_path: Path) -> None:
    session = OnnxSession(spec(tmp_path, graphs.mean_of_pixels(["n", 3, "h", "w"])), "cpu")
    assert session.providers == [CPU]
    assert session.nodes == {CPU: 1}
    assert session.takes == {"x": Port("x", "float32", (None, 3, None, None))}
    assert session.gives == {"y": Port("y", "float32", (None, 3))}
    assert str(session.takes["x"]) == "x float32[?, 3, ?, ?]"
    (mean,) = session.run({"x": np.ones((2, 3, 5, 7), np.float32)})
    assert mean.tolist() == [[1, 1, 1], [1, 1, 1]]


CUDA_OPTIONS = {
    "cudnn_conv_algo_search": ("EXHAUSTIVE", "EXHAUSTIVE"),
    "arena_extend_strategy": ("kNextPowerOfTwo", "kNextPowerOfTwo"),
    "gpu_mem_limit": (2_000_000_000, "2000000000"),
    "cudnn_conv_use_max_workspace": (False, "0"),
    "cudnn_conv1d_pad_to_nc1d": (True, "1"),
    "enable_cuda_graph": (True, "1"),
    "prefer_nhwc": (True, "1"),
    "use_tf32": (False, "0"),
    "do_copy_in_default_stream": (False, "0"),
    "tunable_op_enable": (True, "1"),
    "tunable_op_tuning_enable": (True, "1"),
}


def test_every_cuda_option_reaches_the_provider(tmp_path: Path) -> None:
    given = {name: value for name, (value, _) in CUDA_OPTIONS.items()}
    more = {"intra_op_num_threads": 3, "allow_spinning": True, "graph_optimization_level": "basic"}
    plan = plan_of(spec(tmp_path, b"", cuda=given | more), "cuda")
    assert plan.provider_options == {name: text for name, (_, text) in CUDA_OPTIONS.items()}
    assert (plan.threads, plan.spinning, plan.level) == (3, True, "ORT_ENABLE_BASIC")
    assert (plan.strict, plan.cuda_graph) == (True, True)


def test_the_gpu_has_defaults_for_a_server(tmp_path: Path) -> None:
    plan = plan_of(spec(tmp_path, b""), "cuda")
    assert plan.provider == CUDA
    assert plan.provider_options["cudnn_conv_algo_search"] == "HEURISTIC"
    assert plan.provider_options["arena_extend_strategy"] == "kSameAsRequested"
    assert plan.provider_options["cudnn_conv_use_max_workspace"] == "1"
    assert "gpu_mem_limit" not in plan.provider_options
    assert (plan.threads, plan.spinning, plan.strict, plan.cuda_graph) == (1, False, True, False)


@pytest.mark.parametrize(
    ("outer", "inner", "threads"),
    [
        ("250000 100000", "max 100000", 3),
        ("max 100000", "50000 100000", 1),
        ("400000 100000", "200000 100000", 2),
        ("max 100000", "max 100000", 64),
        (None, None, 64),
    ],
)
def test_threads_follow_the_cgroup_s_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outer: str | None, inner: str | None, threads: int
) -> None:
    monkeypatch.setattr(device, "_CGROUP", tmp_path)
    monkeypatch.setattr(device, "_OWN_CGROUP", tmp_path / "self")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)))
    (tmp_path / "self").write_text("0::/worker.slice/one\n")
    (tmp_path / "worker.slice" / "one").mkdir(parents=True)
    for folder, quota in (("worker.slice", outer), ("worker.slice/one", inner)):
        if quota is not None:
            (tmp_path / folder / "cpu.max").write_text(f"{quota}\n")
    assert plan_of(spec(tmp_path, b""), "cpu").threads == threads


def test_what_is_planned_is_what_the_session_gets(tmp_path: Path) -> None:
    cpu = {"intra_op_num_threads": 2, "allow_spinning": True, "graph_optimization_level": "extended"}
    plan = plan_of(spec(tmp_path, b"", cpu=cpu | {"enable_cpu_mem_arena": False}), "cpu")
    settings = plan.settings(onnxruntime)
    assert settings.intra_op_num_threads == 2
    assert settings.enable_cpu_mem_arena is False
    assert settings.graph_optimization_level == onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    assert settings.get_session_config_entry("session.intra_op.allow_spinning") == "1"
    assert settings.get_session_config_entry("session.disable_cpu_ep_fallback") == "0"
    strict = plan_of(spec(tmp_path, b""), "cuda").settings(onnxruntime)
    assert strict.get_session_config_entry("session.disable_cpu_ep_fallback") == "1"
    assert strict.get_session_config_entry("session.intra_op.allow_spinning") == "0"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"cpu": {"threads": 2}},
            r"options\.cpu\.threads: no such option; did you mean 'intra_op_num_threads'\?",
        ),
        ({"cpu": {"intra_op_num_threads": 0}}, r"options\.cpu\.intra_op_num_threads: must be at least 1"),
        ({"cpu": {"graph_optimization_level": "al"}}, r"must be one of none, basic, .*did you mean 'all'\?"),
        ({"cpu": {"strict": True}}, r"options\.cpu\.strict: no such option"),
        ({"cuda": {"cudnn_conv_algo_serch": "DEFAULT"}}, r"did you mean 'cudnn_conv_algo_search'\?"),
        ({"cuda": {"cudnn_conv_algo_search": "heuristic"}}, r"did you mean 'HEURISTIC'\?"),
        ({"cuda": {"gpu_mem_limit": "2 GB"}}, r"options\.cuda\.gpu_mem_limit: must be a whole number"),
        ({"cuda": {"device_id": 1}}, r"options\.cuda\.device_id: the worker chooses the GPU"),
        ({"cuda": {"enable_cuda_graph": True, "strict": False}}, r"enable_cuda_graph: needs strict"),
        ({"cuda": 3}, r"options\.cuda: must be a table"),
        ({"shapes": {"x": [0, 3]}}, r"options\.shapes\.x: must be a list of sizes and names"),
    ],
)
def test_a_wrong_option_is_named_on_every_device(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        OnnxSession(spec(tmp_path, graphs.identity(SHAPE), **options), "cpu")


def test_a_missing_gpu_build_is_no_quiet_cpu(tmp_path: Path) -> None:
    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("this environment has onnxruntime-gpu")
    with pytest.raises(ProviderMissingError, match="not onnxruntime-gpu"):
        OnnxSession(spec(tmp_path, graphs.identity(SHAPE)), "cuda")


def test_strict_refuses_nodes_that_only_the_cpu_can_run(tmp_path: Path) -> None:
    model = spec(tmp_path, graphs.mean_of_pixels(SHAPE))
    with pytest.raises(
        SpecError, match=r"m@1: 1 of the graph's 1 nodes can run on the CPU only \(1 ReduceMean\)"
    ):
        open_session(
            onnxruntime, model, SessionPlan(ANOTHER, 1, spinning=False, level="ORT_ENABLE_ALL", strict=True)
        )


def test_without_strict_they_are_counted_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    plan = SessionPlan(ANOTHER, 1, spinning=False, level="ORT_ENABLE_ALL")
    monkeypatch.setattr("gpu_worker.engine.onnx.plan_of", lambda *_: plan)
    session = OnnxSession(spec(tmp_path, graphs.mean_of_pixels(SHAPE)), "cpu")
    assert session.nodes == {CPU: 1}
    assert "m@1: 1 of the graph's 1 nodes can run on the CPU only (1 ReduceMean)" in capfd.readouterr().err


def test_a_fixed_dimension_can_be_made_dynamic(tmp_path: Path) -> None:
    graph = graphs.doubled([1, 3, 4, 4])
    with pytest.raises(Exception, match="Got invalid dimensions"):
        OnnxSession(spec(tmp_path, graph), "cpu").run({"x": np.zeros((2, 3, 5, 6), np.float32)})
    session = OnnxSession(spec(tmp_path, graph, shapes={"x": ["batch", 3, "h", "w"]}), "cpu")
    assert session.takes["x"].shape == (None, 3, None, None)
    (made,) = session.run({"x": np.ones((2, 3, 5, 6), np.float32)})
    assert made.shape == (2, 3, 10, 12)


def test_a_shape_for_an_input_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"options\.shapes: m\.onnx has no input 'z'"):
        OnnxSession(spec(tmp_path, graphs.identity(SHAPE), shapes={"z": [1]}), "cpu")


WEIGHT = np.arange(4, dtype=np.float32)


@pytest.mark.parametrize("shapes", [{}, {"x": ["n"]}])
def test_weights_may_lie_beside_the_graph(tmp_path: Path, shapes: dict[str, Any]) -> None:
    (tmp_path / "w.bin").write_bytes(WEIGHT.tobytes())
    graph = graphs.plus(graphs.outside("w", WEIGHT, "w.bin"), [4])
    (made,) = OnnxSession(spec(tmp_path, graph, shapes=shapes), "cpu").run({"x": np.ones(4, np.float32)})
    assert made.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "location",
    [
        "../w.bin",
        "{root}/w.bin",
        "sub/../../w.bin",
        "link.bin",
        "sub/w.bin",
        "../none.bin",
        "loop.bin",
        "w.bin\0",
        "w" * 5000,
    ],
)
def test_weights_outside_the_folder_are_refused(tmp_path: Path, location: str) -> None:
    # Given a file that an ONNX graph has no business with
    (tmp_path / "w.bin").write_bytes(WEIGHT.tobytes())
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link.bin").symlink_to(tmp_path / "w.bin")
    (folder / "loop.bin").symlink_to(folder / "loop.bin")
    (folder / "sub").symlink_to(tmp_path, target_is_directory=True)
    # When a graph names it for its weights, then it is not opened
    graph = graphs.plus(graphs.outside("w", WEIGHT, location.format(root=tmp_path)), [4])
    with pytest.raises(SpecError, match="outside the model's folder, which is refused: put a copy"):
        OnnxSession(spec(folder, graph), "cpu")


@pytest.mark.parametrize("location", ["none.bin", "*/_ORT_MEM_ADDR_/*", "", "."])
def test_weights_that_are_no_file_are_named(tmp_path: Path, location: str) -> None:
    graph = graphs.plus(graphs.outside("w", WEIGHT, location), [4])
    with pytest.raises(SpecError, match="which is missing"):
        OnnxSession(spec(tmp_path, graph), "cpu")


def test_weights_hidden_in_a_subgraph_are_found(tmp_path: Path) -> None:
    held = graphs.outside("w", WEIGHT, "../w.bin")
    constant = graphs.node("Constant", [], ["c"], value=held)
    branch = graphs.message(1, constant) + graphs.text(2, "branch")
    attribute = graphs.text(1, "then_branch") + graphs.message(6, branch) + graphs.number(20, 5)
    choice = graphs.text(4, "If") + graphs.message(5, attribute)
    for message in (
        graphs.message(7, graphs.message(1, choice)),
        graphs.message(25, graphs.message(7, choice)),
    ):
        (tmp_path / "m.onnx").write_bytes(message)
        with pytest.raises(SpecError, match="outside the model's folder"):
            check_external_data(tmp_path / "m.onnx", tmp_path)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"no graph", "m.onnx"),
        (b"\x3a\xff\xff\xff\xff\x0flocation", "it ends in the middle of a field"),
        (b"location", "wire type"),
        (b"\xff" * 12 + b"location", "more than 64 bits"),
    ],
)
def test_what_is_no_graph_is_named(tmp_path: Path, data: bytes, said: str) -> None:
    with pytest.raises(Exception, match=said):  # ONNX Runtime's own, or ours
        OnnxSession(spec(tmp_path, data), "cpu")


def test_messages_nested_without_end_are_refused(tmp_path: Path) -> None:
    message = b"location"
    for _ in range(200):
        message = graphs.message(1, graphs.message(5, graphs.message(6, message)))
    (tmp_path / "m.onnx").write_bytes(graphs.message(7, message))
    with pytest.raises(SpecError, match="nested too deep"):
        check_external_data(tmp_path / "m.onnx", tmp_path)


def test_whatever_is_damaged_is_checked_or_refused(tmp_path: Path) -> None:
    # Given graphs with a few bytes changed
    (tmp_path / "w.bin").write_bytes(WEIGHT.tobytes())
    whole = graphs.plus(graphs.outside("w", WEIGHT, "w.bin"), [4])
    chance = random.Random(7)  # noqa: S311  a test's dice
    refused = 0
    for _ in range(500):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        (tmp_path / "m.onnx").write_bytes(data)
        # When their files are looked for, then that ends in an answer
        try:
            check_external_data(tmp_path / "m.onnx", tmp_path)
        except SpecError:
            refused += 1
    assert refused
