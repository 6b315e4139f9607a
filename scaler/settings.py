"""The scaler's settings: `LEVERET_SCALER_…` beside the shared sections."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from shared.settings import Port, ProcessSettings, Seconds, Section


class ScalerSection(Section):
    """One fleet per queue; the limits are each fleet's."""

    interval_s: Seconds = 30.0
    min: int = Field(default=0, ge=0)
    max: int = Field(default=1, ge=0)
    per_worker: int = Field(default=1, ge=1, description="jobs that one worker is started for")
    idle_s: Seconds = 120.0
    boot_s: Seconds = Field(default=600.0, description="a worker not ready by then is given up")
    drain_s: Seconds = Field(default=180.0, description="above the workers' own LEVERET_WORKER_DRAIN_S")
    stop_s: Seconds = Field(default=120.0, description="what the workers get to drain when the scaler stops")
    keep_workers: bool = Field(default=False, description="leave the workers running when the scaler stops")
    fleet: Literal["process"] = "process"
    log_dir: Path | None = Field(default=None, description="the workers' logs; in state_dir when unset")
    state_dir: Path | None = Field(default=None, description="in the system's temporary folder when unset")
    admin_host: str = "127.0.0.1"
    admin_port: Port = 0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError("LEVERET_SCALER_MIN is above LEVERET_SCALER_MAX")
        return self


class ScalerSettings(ProcessSettings):
    """Everything the scaler reads."""

    scaler: ScalerSection = ScalerSection()
