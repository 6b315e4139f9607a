"""The worker's settings: `LEVERET_WORKER_…` beside the shared sections."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from shared.settings import PerHour, Port, ProcessSettings, Seconds, Section

Address = Annotated[str, StringConstraints(pattern=r"^http://[^/\s]+$")]
HostAndPort = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]+:[0-9]{1,5}$")]
WorkerId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]


class WorkerSection(Section):
    """One worker serves one queue of the catalog."""

    queue: str = "default"
    slots: int = Field(default=1, ge=1, le=256, description="jobs in hand: the prefetch")
    device: Literal["cpu", "cuda"] = Field(default="cpu", description="cuda is strict: never the CPU instead")
    engines: int = Field(default=1, ge=1, le=64, description="processes per interpreter; on cuda a GPU each")
    drain_s: Seconds = Field(default=100.0, description="what a drain gives the jobs in hand")
    preemption: Literal["none", "ec2"] = Field(
        default="none",
        description="who else than SIGTERM says that the machine goes away; outside EC2 its link-local "
        "address is nobody's, or another cloud's, and has to be asked for by name",
    )
    imds_url: Address = Field(default="http://169.254.169.254", description="EC2's metadata service")
    model_memory_mb: int = Field(default=0, ge=0, description="of an engine's loaded models together")
    engine_memory_mb: int = Field(
        default=0, ge=0, description="an engine above it is replaced when empty; 0 goes by the next one"
    )
    engine_memory_kill_mb: int = Field(default=0, ge=0, description="one above it is killed with its jobs")
    engine_jobs: int = Field(default=0, ge=0, description="after so many an engine is replaced when empty")
    price_per_hour: PerHour | None = Field(
        default=None, description="of its machine, where the scaler does not know it"
    )
    load_s: Seconds = Field(
        default=180.0, description="what a model's import, load and warm_up get; less than a scaler's boot_s"
    )
    preload: bool = Field(default=True, description="load and warm the queue's models before `ready`")
    id: WorkerId | None = Field(default=None, description="unique; made at random when unset")
    scratch: Path = Field(default_factory=lambda: Path(tempfile.gettempdir()))
    admin_host: str = "127.0.0.1"
    admin_port: Port = 0
    admin_address: HostAndPort | None = Field(
        default=None, description="where others reach the admin port, if not at this machine's own address"
    )

    @model_validator(mode="after")
    def _used(self) -> Self:
        if self.engines > self.slots:
            raise ValueError("LEVERET_WORKER_ENGINES is above LEVERET_WORKER_SLOTS: some get no job")
        return self


class WorkerSettings(ProcessSettings):
    """Everything the worker reads."""

    worker: WorkerSection = WorkerSection()
