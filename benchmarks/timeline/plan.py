"""How much of everything: the whole run, and a short one for the suite."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MODELS = Path(__file__).parent / "models"
QUEUE = "naps"
PRIORITIES = (9, 5, 5, 2, 5, 5, 1, 8, 5, 0)
"""In turn: a fifth high, half normal, three tenths low."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Seconds and counts.

    Attributes:
        burst: Jobs that come at once.
        pause_s: Between these and the first of the others.
        trickle: Jobs that come one by one.
        gap_s: Between two of these, at first and at last.
        job_s: What each takes, at least and at most.
        most: Workers at most.
        interval_s: Between two looks of the scaler.
        idle_s: A worker is asked to leave after so long without a job.
        wait_s: Within which jobs of high, normal and low priority are to start.
        drain_at: So many jobs are done when somebody asks a busy worker to leave.
        kill_at: So many are done when the leading scaler is killed.
        late_s: Granted to the standby's look, beyond the interval.
        quiet_s: Nothing is asked for at first, and nobody is there at the end, for so long.
    """

    burst: int = 120
    pause_s: float = 40.0
    trickle: int = 80
    gap_s: tuple[float, float] = (0.4, 2.4)
    job_s: tuple[float, float] = (1.0, 2.0)
    most: int = 5
    interval_s: float = 1.0
    idle_s: float = 6.0
    wait_s: tuple[float, float, float] = (15.0, 30.0, 60.0)
    drain_at: int = 40
    kill_at: int = 80
    late_s: float = 1.0
    quiet_s: float = 5.0

    @property
    def jobs(self) -> int:
        """All of them."""
        return self.burst + self.trickle

    def priorities(self) -> Iterator[int]:
        """Of each job, in the order in which they come."""
        return (PRIORITIES[number % len(PRIORITIES)] for number in range(self.jobs))

    def seconds(self, number: int) -> float:
        """What this job takes."""
        return _between(self.job_s, (number * 7 % 11) / 10)

    def gaps(self) -> Iterator[float]:
        """Before each job that comes alone: they grow, so that fewer and fewer workers are needed."""
        return (_between(self.gap_s, number / self.trickle) for number in range(self.trickle))

    def scaler(self, state_dir: Path) -> dict[str, str]:
        """The scalers' settings."""
        high, normal, low = self.wait_s
        told = {
            "FLEET": "process",
            "STATE_DIR": state_dir,
            "MAX": self.most,
            "INTERVAL_S": self.interval_s,
            "IDLE_S": self.idle_s,
            "WAIT_HIGH_S": high,
            "WAIT_NORMAL_S": normal,
            "WAIT_LOW_S": low,
        }
        return {f"LEVERET_SCALER_{name}": str(value) for name, value in told.items()}


def _between(ends: tuple[float, float], share: float) -> float:
    return ends[0] + share * (ends[1] - ends[0])


FULL = Plan()
SHORT = Plan(
    burst=24,
    pause_s=2.0,
    trickle=6,
    gap_s=(0.3, 0.6),
    job_s=(0.4, 0.6),
    most=2,
    interval_s=0.5,
    idle_s=2.0,
    drain_at=4,
    kill_at=10,
    late_s=30.0,  # the suite asserts no speed: it runs on machines that do much else
    quiet_s=1.0,
)
