"""Every metric is on its page, and the page names no other; no label comes from a request or a job."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import pytest
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

import gateway
import gpu_worker
import scaler
import shared
from gpu_worker.engine.launch import Device
from gpu_worker.engines import Use
from gpu_worker.gauges import Devices, Engines, machine_bytes, show_worker
from gpu_worker.measures import STAGE_NAMES, measure
from gpu_worker.nvml import Cards
from shared.jobs import Evidence
from tests.unit.gpu_worker.claims import claim

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
ROW = re.compile(r"^\| `(leveret_\w+)` \| (\w+) \| (.*?) \| (.+) \|$", re.MULTILINE)
LABEL_ROW = re.compile(r"^\| ((?:`[a-z]+`(?:, )?)+) \| ", re.MULTILINE)
APART = ("gateway.client", "gpu_worker.engine", "gpu_worker.handlers")
"""They run where no metrics page is."""
NAME = re.compile(r"leveret_(gateway|worker|scaler|catalog|tracing)_[a-z_]+")
UNITS = ("_seconds", "_bytes", "_jobs", "_workers", "_total")


class Metric(NamedTuple):
    """What a row of the page says."""

    name: str
    kind: str
    labels: frozenset[str]


def _modules(package: ModuleType) -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not found.name.startswith(APART) and not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


def _registered() -> Iterator[Metric]:
    for package in (gateway, gpu_worker, scaler, shared):
        for _ in _modules(package):
            pass
    collectors = list(REGISTRY._collector_to_names)
    for each in collectors:
        if isinstance(each, MetricWrapperBase) and each._name.startswith("leveret_"):
            kind = str(each._type)
            yield Metric(_full(each._name, kind), kind, frozenset(each._labelnames))
    for family in Devices("q", cast("Engines", None), Cards()).describe():
        yield Metric(_full(family.name, family.type), family.type, frozenset(family._labelnames))


def _full(name: str, kind: str) -> str:
    return f"{name}_total" if kind == "counter" else name


def _documented() -> Iterator[Metric]:
    for name, kind, labels, _ in ROW.findall(PAGE):
        yield Metric(name, kind, frozenset(re.findall(r"`(\w+)`", labels)))


def test_the_page_tells_every_metric_and_no_other() -> None:
    assert sorted(_documented()) == sorted(_registered())


def test_names_follow_the_custom() -> None:
    for metric in _registered():
        assert NAME.fullmatch(metric.name), metric
        assert (metric.kind == "counter") == metric.name.endswith("_total"), metric
        if metric.kind == "histogram":
            assert metric.name.endswith(UNITS), metric


def test_every_label_is_on_the_list_of_those_with_few_values() -> None:
    table = PAGE.partition("## Labels")[2].partition("## Gateway")[0]
    listed = {name for row in LABEL_ROW.findall(table) for name in re.findall(r"`(\w+)`", row)}
    assert {label for metric in _registered() for label in metric.labels} == listed
    assert not listed & {"tenant", "job", "job_id", "id", "worker", "host", "key", "path", "user"}


def test_an_engines_forged_timings_make_no_series() -> None:
    timings = {f"{name}_s": 0.5 for name in STAGE_NAMES} | {f"forged-{n}_s": 1.0 for n in range(50)}
    measure(claim(model="forger"), Evidence(timings=timings | {"queue_s": 1.0, "batch_size": 4}), "succeeded")
    stages = {
        sample.labels["stage"]
        for family in REGISTRY.collect()
        if family.name == "leveret_worker_stage_seconds"
        for sample in family.samples
        if sample.labels["model"] == "forger"
    }
    assert stages == set(STAGE_NAMES)
    assert REGISTRY.get_sample_value("leveret_worker_batch_jobs_sum", {"model": "forger"}) == 4


def test_an_error_is_counted_by_its_code_and_not_by_its_words() -> None:
    for number in range(3):
        error = {"code": "algorithm_error", "message": f"word {number}"}
        measure(claim(model="failing"), Evidence(error=error), "failed")
    labels = {"model": "failing", "code": "algorithm_error"}
    assert REGISTRY.get_sample_value("leveret_worker_errors_total", labels) == 3


class _Used:
    def __init__(self, *uses: Use) -> None:
        self._uses = uses

    def uses(self) -> tuple[Use, ...]:
        return self._uses


class _Card:
    """NVML with one card of 80 GB, of which 3 GB are taken; by its number or its UUID."""

    def nvmlInit_v2(self) -> int:  # noqa: N802  the library's name
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, number: object, handle: object) -> int:  # noqa: N802
        return 0 if number.value == 0 else 2  # type: ignore[attr-defined]

    def nvmlDeviceGetHandleByUUID(self, name: bytes, handle: object) -> int:  # noqa: N802
        return 0 if name == b"GPU-1" else 6

    def nvmlDeviceGetMemoryInfo(self, handle: object, memory: object) -> int:  # noqa: N802
        found = memory._obj  # type: ignore[attr-defined]
        found.total, found.used = 80_000_000_000, 3_000_000_000
        return 0


def _samples(*uses: Use, library: object) -> dict[tuple[str, str], float]:
    families = Devices("images", _Used(*uses), Cards(library)).collect()
    return {(each.name, each.labels["device"]): each.value for family in families for each in family.samples}


def test_a_devices_figures_are_read_when_somebody_looks() -> None:
    seen = _samples(Use(Device("cpu"), busy_s=2.5, resident_mb=100.0, starts=2), library=None)
    assert seen == {
        ("leveret_worker_device_busy_seconds_total", "cpu0"): 2.5,
        ("leveret_worker_device_memory_used_bytes", "cpu0"): 100e6,
        ("leveret_worker_device_memory_total_bytes", "cpu0"): machine_bytes(),
        ("leveret_worker_engine_memory_bytes", "cpu0"): 100e6,
        ("leveret_worker_engine_starts_total", "cpu0"): 2,
    }
    assert machine_bytes() > 1e8


def test_a_cards_memory_is_the_cards_and_unknown_is_not_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    uses = [Use(Device("cuda", gpu=name), 0.0, 0.0, 1) for name in (None, "GPU-1", "7")]
    seen = _samples(*uses, library=_Card())
    used = [seen["leveret_worker_device_memory_used_bytes", f"cuda{number}"] for number in range(3)]
    assert used[:2] == [3e9, 3e9]
    assert used[2] != used[2]
    assert seen["leveret_worker_device_memory_total_bytes", "cuda0"] == 80e9


def test_what_a_worker_has_in_hand_is_asked_for() -> None:
    hands = [1]
    show_worker("asked", 4, lambda: hands[0])
    hands[0] = 3
    assert REGISTRY.get_sample_value("leveret_worker_jobs_in_hand", {"queue": "asked"}) == 3
    assert REGISTRY.get_sample_value("leveret_worker_slots", {"queue": "asked"}) == 4
