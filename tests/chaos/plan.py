"""When what happens: everything of a run that follows from its seed and its length alone."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from tests.chaos.faults import KINDS

ROUND_S = 60.0
TIMES = 3
FLOOR = 5000
"""Jobs that must be accepted in the three minutes of a whole run, on two quiet cores."""
SHORT_BACKLOG = 1000
"""What a slow machine still works off in the minute after the last fault."""
SHORT_FLOOR_PER_MINUTE = 500
"""The same of a shorter run, as CI makes it on machines of any speed: it only shows that there was work."""
POSTGRES_FIRST = {
    "postgres restart": 3.0,
    "postgres answers cut": 4.5,
    "postgres sessions killed": 6.0,
    "postgres black hole 15 s": 6.5,
}
"""Seconds into a round. They come in a bunch: the relay judges leases only after 20 s of steady answers from
PostgreSQL, and the rest of the minute leaves it those."""
SILENT_BROKER = "broker black hole 11 s"
SILENT_BROKER_AT_S = 6.2
"""Just before PostgreSQL is silent too: messages are on their way, and little else is held up by it."""
SHORT = {
    "worker kill -9", "worker SIGTERM", "engine kill -9", "gateway kill -9", "broker connections cut",
    "queue deleted", "redis pub/sub killed", "redis flushed", "s3 answers 500",
}  # fmt: skip
"""For a run of a single minute: what needs no waiting, and PostgreSQL's sessions killed at its beginning."""
PEACE = (23.0, 56.0)
"""When PostgreSQL is up: the time of whatever needs jobs that move."""
ANY_TIME = {
    "worker kill -9", "engine kill -9", "gateway kill -9", "gateway SIGTERM", "redis kill -9",
    "redis flushed", "redis pub/sub killed", "redis black hole 8 s",
}  # fmt: skip
WHOLE_ROUND = (1.0, 57.0)
LOSES_LEASE = "worker paused 28 s"
LOSES_LEASE_AT_S = 30.0
"""So that the relay, silent until 20 s after PostgreSQL's last fault, judges its lease before it wakes."""


@dataclass(frozen=True, slots=True, order=True)
class Appointment:
    """A fault that is to strike."""

    at_s: float
    kind: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole run.

    Attributes:
        seconds: Of load and faults.
        rate: Jobs submitted per second, as far as the system keeps up.
        clients: Who submits them.
        slots: Of each worker.
        backlog: Jobs without an end above which the clients wait.
        settle_s: After healing, until whatever has not ended counts as lost.
        restless: Share of the subscribers that leave at random.
        least: How often every kind must have struck jobs in flight.
        each_needs_victims: Whether a single strike that met no job fails the run.
        overlap: Share of the jobs that must have met a fault.
        floor: Jobs that must have been accepted.
        appointments: The faults.
    """

    seconds: float
    appointments: tuple[Appointment, ...]
    rate: float = 120
    clients: int = 48
    slots: tuple[int, ...] = (1, 1, 4, 4)
    backlog: int = 3000
    settle_s: float = 60
    restless: float = 0.5
    least: int = TIMES
    each_needs_victims: bool = True
    overlap: float = 0.2
    floor: int = 0

    @property
    def kinds(self) -> list[str]:
        """The faults of this run."""
        return sorted({each.kind for each in self.appointments})


def dice(seed: str, whose: str) -> Random:
    """Numbers of one part of the run: the others' draws do not shift them."""
    return Random(f"{seed} {whose}")  # noqa: S311  chaos that can be replayed, not secrets


def plan_for(seed: str, minutes: float) -> Plan:
    """Rounds of a minute with every kind once; below three minutes fewer kinds, three times each."""
    rounds = round(minutes)
    if rounds < TIMES:
        appointments = _short(dice(seed, "faults"), minutes * 60)
        return Plan(
            seconds=minutes * 60, appointments=appointments, backlog=SHORT_BACKLOG,
            floor=round(SHORT_FLOOR_PER_MINUTE * minutes),
        )  # fmt: skip
    numbers = dice(seed, "faults")
    found = [each for number in range(rounds) for each in _round(numbers, number * ROUND_S)]
    floor = FLOOR * rounds // TIMES
    return Plan(seconds=rounds * ROUND_S, appointments=tuple(sorted(found)), floor=floor)


def _round(numbers: Random, begins: float) -> list[Appointment]:
    pinned = {
        **POSTGRES_FIRST, LOSES_LEASE: LOSES_LEASE_AT_S, SILENT_BROKER: SILENT_BROKER_AT_S,
        **_one_broker_fault(numbers),
    }  # fmt: skip
    others = [kind for kind in KINDS if kind not in pinned]
    moving = [kind for kind in others if kind not in ANY_TIME]
    any_time = [kind for kind in others if kind in ANY_TIME]
    return [
        *(Appointment(begins + at, kind) for kind, at in pinned.items()),
        *_spread(numbers, moving, begins + PEACE[0], begins + PEACE[1]),
        *_spread(numbers, any_time, begins + WHOLE_ROUND[0], begins + WHOLE_ROUND[1]),
    ]


def _one_broker_fault(numbers: Random) -> dict[str, float]:
    """One of the two comes while PostgreSQL is away as well."""
    return {numbers.choice(["broker kill -9", "broker wiped"]): 17.5}


def _short(numbers: Random, seconds: float) -> tuple[Appointment, ...]:
    kinds = sorted(SHORT) * TIMES
    first = [Appointment(2.0 + 2 * number, "postgres sessions killed") for number in range(TIMES)]
    return tuple(sorted([*first, *_spread(numbers, kinds, 3.0, seconds - 5)]))


def _spread(numbers: Random, kinds: list[str], begins: float, ends: float) -> list[Appointment]:
    """In random order, one in each of as many equal parts of the time."""
    order = numbers.sample(kinds, len(kinds))
    part = (ends - begins) / len(order)
    return [
        Appointment(round(begins + (number + numbers.random()) * part, 2), kind)
        for number, kind in enumerate(order)
    ]
