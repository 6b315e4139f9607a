"""What one look found in numbers: how many are wanted and there, and which limits held. Pure: no I/O."""

from __future__ import annotations

from dataclasses import dataclass

from scaler.snapshot import Config, Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """None is what is not known.

    Attributes:
        want: Workers aimed at.
        asked: Workers that the jobs ask for, before any limit.
        bound: The limit that made `want` another number.
        serving: Workers that take jobs.
        starting: Machines and workers on their way.
        leaving: Those on their way out, or not heard of any more.
        min: Workers at least, as it held.
        max: Workers at most.
        min_ordered: An operator said so, over the settings.
        max_ordered: Likewise.
        gap_s: A longer time between two looks is one in which nobody looked.
    """

    want: int | None
    asked: int | None
    bound: str | None
    serving: int | None
    starting: int | None
    leaving: int | None
    min: int
    max: int
    min_ordered: bool
    max_ordered: bool
    gap_s: float


def seen(decision: Decision, config: Config, *, ordered: tuple[bool, bool]) -> Look:
    """One look.

    Args:
        decision: What came of it.
        config: The limits that held.
        ordered: Whether an operator's word is behind the minimum, and behind the maximum.
    """
    crew = decision.crew
    return Look(
        want=decision.want,
        asked=decision.asked,
        bound=decision.bound.value if decision.bound else None,
        serving=crew.serving if crew else None,
        starting=crew.starting if crew else None,
        leaving=crew.leaving if crew else None,
        min=config.min,
        max=config.max,
        min_ordered=ordered[0],
        max_ordered=ordered[1],
        gap_s=config.gap_s,
    )
