"""The scaler's settings: `LEVERET_SCALER_…` beside the shared sections."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from shared.settings import Port, ProcessSettings, Seconds, Section


class QueueLimits(Section):
    """What one queue's fleet has of its own; None means as everywhere.

    Attributes:
        slots: Of its workers, instead of LEVERET_WORKER_SLOTS.
        device: Of its workers, instead of LEVERET_WORKER_DEVICE: a pool on the CPU beside one on the GPU.
    """

    min: int | None = Field(default=None, ge=0)
    max: int | None = Field(default=None, ge=0)
    per_worker: int | None = Field(default=None, ge=1)
    idle_s: Seconds | None = None
    slots: int | None = Field(default=None, ge=1, le=256)
    device: Literal["cpu", "cuda"] | None = None


class ScalerSection(Section):
    """One fleet per queue; the limits are each fleet's, unless `queues` says otherwise for it."""

    interval_s: Seconds = 30.0
    min: int = Field(default=0, ge=0)
    max: int = Field(default=1, ge=0)
    per_worker: int = Field(default=1, ge=1, description="jobs that one worker is started for")
    idle_s: Seconds = 120.0
    boot_s: Seconds = Field(default=600.0, description="a worker not ready by then is given up")
    drain_s: Seconds = Field(default=180.0, description="above the workers' own LEVERET_WORKER_DRAIN_S")
    stop_s: Seconds = Field(default=120.0, description="what the workers get to drain when the scaler stops")
    keep_workers: bool = Field(default=False, description="leave the workers running when the scaler stops")
    queues: dict[str, QueueLimits] = Field(default={}, description="limits of single queues, by name")
    fleet: Literal["process"] = "process"
    log_dir: Path | None = Field(default=None, description="the workers' logs; in state_dir when unset")
    state_dir: Path | None = Field(default=None, description="in the system's temporary folder when unset")
    admin_host: str = "127.0.0.1"
    admin_port: Port = 0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError("LEVERET_SCALER_MIN is above LEVERET_SCALER_MAX")
        for queue in self.queues:
            if self.of(queue).min > self.of(queue).max:
                raise ValueError(f"LEVERET_SCALER_QUEUES: {queue}: its min is above its max")
        return self

    def of(self, queue: str) -> ScalerSection:
        """The section with one queue's own limits in place of the common ones."""
        own = self.queues.get(queue, QueueLimits())
        return self.model_copy(update=own.model_dump(exclude_none=True, include=_LIMITS))

    def worker_variables(self, queue: str) -> dict[str, str]:
        """What the workers of one queue get in their environment beyond everybody's."""
        own = self.queues.get(queue, QueueLimits())
        given = {"LEVERET_WORKER_SLOTS": own.slots, "LEVERET_WORKER_DEVICE": own.device}
        return {name: str(value) for name, value in given.items() if value is not None}


_LIMITS = {"min", "max", "per_worker", "idle_s"}


class ScalerSettings(ProcessSettings):
    """Everything the scaler reads."""

    scaler: ScalerSection = ScalerSection()
