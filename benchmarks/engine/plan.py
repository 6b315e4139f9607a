"""How much is measured: the whole run, or a quick look."""

from __future__ import annotations

from dataclasses import dataclass

HANDED_BYTES = 4 * 1024 * 1024
"""What a job for the simulated device takes out of S3, and puts there."""
GOAL = 0.9
GOAL_HOLD_MS = 20
BATCH = 8
FP16, FP16_BATCHED = "resnet-fp16", "resnet-fp16-batched"
ON_GPU = {FP16: 1, FP16_BATCHED: BATCH}
"""The graphs for a GPU, and how many pictures each is given at a time where its rate alone is measured."""
MANY_IN_HAND = 16
FLOOR = "the two commits by hand"
"""No peer, and no goal: what the promise about a row costs on these servers."""
READ_EVERY_S = 0.02
WEIGH_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Plan:
    """Amounts; in each round every contender has one turn.

    Attributes:
        rounds: Rounds of everything but latency and memory.
        holds_ms: How long the simulated device takes for a batch.
        slots: The workers' slots for it.
        device_s: Seconds of the device's own time to measure for, at most `device_jobs` jobs.
        gpu_jobs: Jobs for a GPU, and pictures through it alone.
        drain_jobs: No-op jobs queued before a worker starts; a third where each has an output.
        latency_jobs: Jobs one after the other.
        memory_jobs: No-op jobs through one worker.
        free_gb: Disk that the run writes to.
    """

    rounds: int
    holds_ms: tuple[int, ...]
    slots: tuple[int, ...]
    device_s: float
    device_jobs: int
    gpu_jobs: int
    drain_jobs: int
    latency_jobs: int
    memory_jobs: int
    free_gb: int

    def jobs_of(self, hold_ms: float, batch: int = 1) -> int:
        """How many jobs for a device that takes so long."""
        return min(self.device_jobs, max(24, round(self.device_s * 1000 / hold_ms))) * (2 if batch > 1 else 1)


FULL = Plan(
    rounds=3,
    holds_ms=(5, 20, 100),
    slots=(1, 4, 16),
    device_s=5,
    device_jobs=120,
    gpu_jobs=2400,
    drain_jobs=3000,
    latency_jobs=200,
    memory_jobs=20_000,
    free_gb=30,
)
QUICK = Plan(
    rounds=1,
    holds_ms=(20,),
    slots=(1, 4),
    device_s=1,
    device_jobs=50,
    gpu_jobs=400,
    drain_jobs=600,
    latency_jobs=25,
    memory_jobs=2_000,
    free_gb=3,
)
