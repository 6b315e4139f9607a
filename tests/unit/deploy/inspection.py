"""How the tests look at images: a target's configuration, unbuilt; are its settings understood."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from deploy.docker.dockerfile import Stage, Step
from deploy.docker.image import Config, configured
from gateway.settings import GatewaySettings
from gpu_worker.settings import WorkerSettings
from scaler.settings import ScalerSettings
from shared.settings import ProcessSettings, read_settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pytest


def config_of(stages: Mapping[str, Stage], name: str) -> Config:
    config = Config(env={"PATH": "/bin"})
    for step in _chain(stages, name):
        if step.word not in {"COPY", "RUN", "WORKDIR"}:
            config = configured(config, step)
    return config


def _chain(stages: Mapping[str, Stage], name: str) -> list[Step]:
    """A stage's steps after those of the stages it is made from."""
    stage = stages[name]
    above = _chain(stages, stage.base) if stage.base in stages else []
    return [*above, *stage.steps]


def _kind(command: Sequence[str]) -> type[ProcessSettings]:
    kinds: dict[str, type[ProcessSettings]] = {
        "gateway": GatewaySettings,
        "gpu_worker": WorkerSettings,
        "scaler": ScalerSettings,
    }
    return kinds.get(command[2], ProcessSettings)


def understood(env: Mapping[str, str], command: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Read these settings as the process of this command would; raises Misconfigured."""
    for name in [name for name in os.environ if name.startswith("LEVERET_")]:
        monkeypatch.delenv(name)
    for name, value in env.items():
        if name.startswith("LEVERET_"):
            monkeypatch.setenv(name, value)
    read_settings(_kind(command))
