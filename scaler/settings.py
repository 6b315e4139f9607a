"""The scaler's settings: `LEVERET_SCALER_…` beside the shared sections."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from shared.settings import PerHour, Port, ProcessSettings, Seconds, Section

MAX_WORKERS = 10_000
"""As much as an operator may set of a fleet."""
Price = Annotated[float, Field(gt=0, lt=1e8, allow_inf_nan=False)]


class Prices(Section):
    """What one type of machine costs an hour; None: never to be had so.

    Attributes:
        spot_in: By zone, where the spot price differs.
    """

    on_demand: Price | None = None
    spot: Price | None = None
    spot_in: dict[str, Price] = Field(default={})

    @model_validator(mode="after")
    def _priced(self) -> Self:
        if self.on_demand is None and self.spot is None and not self.spot_in:
            raise ValueError("a type of machine needs a price: on_demand, spot or spot_in")
        return self


class QueueLimits(Section):
    """What one queue's fleet has of its own; None means as everywhere.

    Attributes:
        slots: Of its workers, instead of LEVERET_WORKER_SLOTS.
        device: Of its workers, instead of LEVERET_WORKER_DEVICE: a pool on the CPU beside one on the GPU.
        offerings: Its types of machines, instead of LEVERET_SCALER_OFFERINGS.
        price_per_hour: Of one of its workers.
    """

    min: int | None = Field(default=None, ge=0, le=MAX_WORKERS)
    max: int | None = Field(default=None, ge=0, le=MAX_WORKERS)
    wait_high_s: Seconds | None = None
    wait_normal_s: Seconds | None = None
    wait_low_s: Seconds | None = None
    theta: float | None = Field(default=None, gt=0, le=1)
    idle_s: Seconds | None = None
    slots: int | None = Field(default=None, ge=1, le=256)
    device: Literal["cpu", "cuda"] | None = None
    offerings: dict[str, Prices] | None = Field(default=None, min_length=1)
    price_per_hour: PerHour | None = None


class ScalerSection(Section):
    """One fleet per queue; the limits are each fleet's, unless `queues` says otherwise for it."""

    interval_s: Seconds = 30.0
    min: int = Field(default=0, ge=0, le=MAX_WORKERS)
    max: int = Field(default=1, ge=0, le=MAX_WORKERS)
    wait_high_s: Seconds = Field(default=120.0, description="a job of priority 8 to 10 is to start within")
    wait_normal_s: Seconds = Field(default=600.0, description="a job of priority 4 to 7 is to start within")
    wait_low_s: Seconds = Field(default=3600.0, description="a job of priority 0 to 3 is to start within")
    theta: float = Field(default=0.8, gt=0, le=1, description="the share of these that is planned with")
    idle_s: Seconds = 120.0
    boot_s: Seconds = Field(default=600.0, description="not ready by then, nor after three boots: given up")
    boot_prior_s: Seconds | None = Field(default=None, description="a boot, until one was seen; by the fleet")
    drain_s: Seconds = Field(default=180.0, description="above the workers' own LEVERET_WORKER_DRAIN_S")
    stop_s: Seconds = Field(default=120.0, description="what the workers get to drain when the scaler stops")
    keep_workers: bool = Field(default=False, description="leave the workers running when the scaler stops")
    queues: dict[str, QueueLimits] = Field(default={}, description="limits of single queues, by name")
    fleet: Literal["process", "ec2_fleet", "kubernetes", "dry_run"] = "process"
    dry_run: bool = Field(default=False, description="decide and tell, and change nothing, with any fleet")
    name: str = Field(default="leveret", pattern=r"^[\w-]{1,64}$", description="tells deployments apart")
    region: str | None = Field(default=None, description="of EC2; unset: as the AWS command line has it")
    endpoint: str | None = Field(default=None, description="of EC2, where it is not the region's public one")
    template: str = Field(default="leveret-{queue}", description="the launch template of a queue's machines")
    offerings: dict[str, Prices] = Field(default={}, description="types of machines with their prices")
    zones: dict[str, str] = Field(default={}, description='zones with their subnets; "": the default one')
    price_per_hour: PerHour | None = Field(default=None, description="of one worker, where no offering tells")
    park_s: Seconds = Field(default=180.0, description="what was short is left alone for so long")
    on_demand_after_s: float = Field(
        default=60.0, ge=0, allow_inf_nan=False, description="of a shortage of spot"
    )
    launches_per_minute: int = Field(default=20, ge=1, description="of all queues together")
    launches_per_hour: int = Field(default=120, ge=1, description="of all queues together")
    ends_per_minute: int = Field(default=20, ge=1, description="of all queues together")
    namespace: str | None = Field(default=None, description="of Kubernetes; unset: the scaler's own")
    deployment: str = Field(default="leveret-worker-{queue}", description="of a queue's workers")
    keda: bool = Field(default=False, description="KEDA scales the Deployments by the number told here")
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

    @model_validator(mode="after")
    def _launchable(self) -> Self:
        if self.fleet == "ec2_fleet" and not (self.zones and self.offerings):
            raise ValueError("LEVERET_SCALER_FLEET=ec2_fleet needs LEVERET_SCALER_OFFERINGS and _ZONES")
        if self.keda and self.fleet != "kubernetes":
            raise ValueError("LEVERET_SCALER_KEDA needs LEVERET_SCALER_FLEET=kubernetes")
        return self

    @model_validator(mode="after")
    def _placed(self) -> Self:
        """A zone that is misspelt would be a price that never counts."""
        for prices in (p for queue in ("", *self.queues) for p in self.offerings_of(queue).values()):
            for zone in sorted(prices.spot_in.keys() - self.zones.keys()):
                raise ValueError(f"LEVERET_SCALER_OFFERINGS: spot_in: {zone} is not in LEVERET_SCALER_ZONES")
        return self

    def of(self, queue: str) -> ScalerSection:
        """The section with one queue's own limits in place of the common ones."""
        own = self.queues.get(queue, QueueLimits())
        return self.model_copy(update=own.model_dump(exclude_none=True, include=_LIMITS))

    def offerings_of(self, queue: str) -> Mapping[str, Prices]:
        """The types of machines that may serve one queue."""
        own = self.queues.get(queue, QueueLimits()).offerings
        return self.offerings if own is None else own

    def worker_variables(self, queue: str) -> dict[str, str]:
        """What the workers of one queue get in their environment beyond everybody's."""
        own = self.queues.get(queue, QueueLimits())
        given = {
            "LEVERET_WORKER_SLOTS": own.slots,
            "LEVERET_WORKER_DEVICE": own.device,
            "LEVERET_WORKER_PRICE_PER_HOUR": self.of(queue).price_per_hour,
        }
        return {name: str(value) for name, value in given.items() if value is not None}


_LIMITS = {
    "min",
    "max",
    "wait_high_s",
    "wait_normal_s",
    "wait_low_s",
    "theta",
    "idle_s",
    "price_per_hour",
}


class ScalerSettings(ProcessSettings):
    """Everything the scaler reads."""

    scaler: ScalerSection = ScalerSection()
