"""What was accepted in a demonstration and what became of it. Pure; standard library only."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ENDINGS = frozenset({"job.succeeded", "job.failed", "job.canceled", "job.expired"})


@dataclass(slots=True)
class Entry:
    """One accepted job.

    Attributes:
        job_id: The gateway promised to run it.
        killed: The pid that was ended under it; None where it was over before.
        fence: Of the attempt that was killed.
        again_s: From the kill until it was started again, seconds.
        endings: Its terminal events, by type.
        successes: How many of its attempts succeeded.
        attempts: (attempt, outcome) of each that has ended, in order.
        result_fence: Of the attempt whose result stands, where its outputs tell.
    """

    job_id: str
    killed: int | None = None
    fence: int | None = None
    again_s: float | None = None
    endings: list[str] = field(default_factory=list)
    successes: int = 0
    attempts: list[tuple[int, str]] = field(default_factory=list)
    result_fence: int | None = None

    @property
    def lost(self) -> bool:
        """Whether it was accepted in vain: without an end, or with one that is no result."""
        return "job.succeeded" not in self.endings

    @property
    def twice(self) -> bool:
        """Whether it ended more than once, or more than one of its attempts counted."""
        return len(self.endings) > 1 or self.successes > 1

    def read(self, events: Sequence[Mapping[str, Any]], attempts: Sequence[Mapping[str, Any]]) -> None:
        """Take over the job's own history and attempts, as the gateway tells them."""
        self.endings = [str(event["type"]) for event in events if event["type"] in ENDINGS]
        self.attempts = [(int(each["attempt"]), str(each["outcome"])) for each in attempts]
        self.successes = sum(outcome == "succeeded" for _, outcome in self.attempts)
        last = events[-1] if events else {}
        self.result_fence = fence_of((last.get("data") or {}).get("outputs") or {})


@dataclass(slots=True)
class Ledger:
    """All jobs of one demonstration, and how many kills were asked for."""

    wanted: int
    entries: list[Entry] = field(default_factory=list)

    @property
    def killed(self) -> int:
        """How many jobs lost their worker."""
        return sum(entry.killed is not None for entry in self.entries)

    @property
    def lost(self) -> int:
        """How many were accepted in vain."""
        return sum(entry.lost for entry in self.entries)

    @property
    def twice(self) -> int:
        """How many have more than one end or result."""
        return sum(entry.twice for entry in self.entries)

    @property
    def well(self) -> bool:
        """Whether nothing was lost or doubled, and all kills hit: what was not tried proves nothing."""
        return not self.lost and not self.twice and self.killed >= self.wanted

    def problems(self) -> Iterator[str]:
        """A line for each job that is not as promised."""
        for entry in self.entries:
            ended = ", ".join(entry.endings) or "no end"
            if entry.lost:
                yield f"lost: {entry.job_id} ({ended})"
            if entry.twice:
                yield f"twice: {entry.job_id} ({ended}; {entry.successes} attempts succeeded)"
        if self.killed < self.wanted:
            missed = self.wanted - self.killed
            yield f"{missed} of {self.wanted} kills came too late: take a model or an input that takes longer"

    def document(self) -> dict[str, Any]:
        """All of it as JSON."""
        pauses = [entry.again_s for entry in self.entries if entry.again_s is not None]
        return {
            "accepted": len(self.entries),
            "killed": self.killed,
            "lost": self.lost,
            "twice": self.twice,
            "again_s_max": max(pauses, default=None),
            "jobs": [asdict(entry) for entry in self.entries],
        }


def fence_of(outputs: Mapping[str, Any]) -> int | None:
    """The fence that Leveret's own addresses bear: `s3://bucket/tenant/job/FENCE/name.ext`."""
    for output in outputs.values():
        parts = str(output.get("uri", "")).split("/")
        if len(parts) > 1 and parts[-2].isdigit():
            return int(parts[-2])
    return None
