"""What the worker's settings come to where its parts meet. Nothing is opened."""

from __future__ import annotations

from gpu_worker.engine.attempt import Limits
from gpu_worker.settings import WorkerSection, WorkerSettings
from gpu_worker.wiring import _limits


def test_an_engines_limits_are_the_settings() -> None:
    own = WorkerSection(
        load_s=30, engine_jobs=5, engine_memory_mb=300, engine_memory_kill_mb=400, model_memory_mb=200
    )
    told = _limits(WorkerSettings(worker=own))
    assert told == Limits(load_s=30, jobs=5, memory_mb=300, kill_mb=400, models_mb=200)


def test_without_settings_they_are_the_engines_own() -> None:
    assert _limits(WorkerSettings()) == Limits()
