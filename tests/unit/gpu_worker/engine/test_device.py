"""How an engine's libraries share the cores with those of other engines."""

from __future__ import annotations

import os

import pytest

from gpu_worker.engine import device
from gpu_worker.engine.launch import SHARE

POOLS = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(device, "_quota", lambda: None)
    for name in (*POOLS, SHARE):
        monkeypatch.delenv(name, raising=False)


def pools() -> list[str | None]:
    return [os.environ.get(name) for name in POOLS]


def test_engines_that_share_the_cores_open_as_many_threads_as_their_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(SHARE, "4")
    device.share_cores()
    assert pools() == ["2", "2"]


def test_more_engines_than_cores_have_a_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SHARE, "16")
    device.share_cores()
    assert pools() == ["1", "1"]


def test_a_quota_counts_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_quota", lambda: 2.5)
    device.share_cores()
    assert pools() == ["3", "3"]


def test_one_engine_with_all_cores_leaves_its_libraries_alone() -> None:
    device.share_cores()
    assert pools() == [None, None]


def test_what_the_environment_says_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SHARE, "4")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    device.share_cores()
    assert pools() == ["7", "2"]
