"""What the scaler knows and what it decides, as frozen values. Pure: the standard library and `shared.jobs`.

Unknown is a value of its own for every part that may be missing: never zero, never an empty list.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from shared.jobs import MAX_PRIORITY


class Unknown(enum.StrEnum):
    """The value of what could not be observed."""

    UNKNOWN = "unknown"


UNKNOWN: Final = Unknown.UNKNOWN


class Tier(enum.StrEnum):
    """A class of priorities that share a wait objective."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


LOWEST: Final[Mapping[Tier, int]] = {Tier.HIGH: 8, Tier.NORMAL: 4, Tier.LOW: 0}
"""The lowest priority of each class, highest class first; the highest of all is MAX_PRIORITY."""


def tier_of(priority: int) -> Tier:
    """The class of a priority, 0 to 10."""
    if not 0 <= priority <= MAX_PRIORITY:
        raise ValueError(f"a priority is 0 to {MAX_PRIORITY}, not {priority}")
    return next(tier for tier, lowest in LOWEST.items() if priority >= lowest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """The queued jobs of one class, with the ages of the first and the last of them."""

    waiting: int = 0
    oldest_s: float = 0.0
    newest_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What the rows of one queue ask for."""

    tiers: Mapping[Tier, Backlog] = field(default_factory=dict)
    running: int = 0

    @property
    def waiting(self) -> int:
        """Jobs of all classes that wait for a worker."""
        return sum(backlog.waiting for backlog in self.tiers.values())

    @property
    def oldest_s(self) -> float:
        """Age of the oldest of them, seconds."""
        return max((backlog.oldest_s for backlog in self.tiers.values()), default=0.0)


class WorkerState(enum.StrEnum):
    """What a worker last said of itself."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A worker's record. All times are seconds before the snapshot, by the database's clock.

    Attributes:
        id: The same as its machine's, where a fleet started it.
        busy: Jobs in its hands.
        drain: Whether it was asked to drain.
        since_s: How long it has been in this state.
        idle_s: How long it has had nothing to do; None while it has.
        heartbeat_s: Age of its last sign of life.
        leaving_s: For how long it has been asked to leave; None where it may stay.
    """

    id: str
    state: WorkerState
    busy: int = 0
    slots: int = 1
    drain: bool = False
    since_s: float = 0.0
    idle_s: float | None = None
    heartbeat_s: float = 0.0
    leaving_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One of the fleet's own, or one that ended a short while ago.

    Attributes:
        age_s: Seconds since its launch; of one that ended, how long it lived.
        alive: False once it has ended.
        doomed: Its end is announced (a spot notice): whatever it does now, it is no capacity.
        exit: What is known of its end, in words.
        inherited: It ended under an earlier scaler, which has judged its launch.
        paid: False for one that is asked for and not there yet.
        refused: It was asked for and will not come: nothing is to be waited for.
        per_hour: What it costs; None: nobody has told.
        offering: What it is, in words, where there are several kinds.
    """

    id: str
    age_s: float
    alive: bool = True
    doomed: bool = False
    exit: str = ""
    inherited: bool = False
    paid: bool = True
    refused: bool = False
    per_hour: Decimal | None = None
    offering: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """The broker's own figures, to check the rows against; alone they decide nothing while rows are known.

    Attributes:
        deserted: No consumer, neither at this look nor at the one before.
    """

    ready: int
    consumers: int
    deserted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """Launches in a row that came to nothing, and when the last one did (on the clock of `now`)."""

    count: int = 0
    last_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What was learned of one queue; None: not seen yet.

    Attributes:
        service_s: For how long a job holds a slot.
        boot_s: From a launch until its worker is ready.
    """

    service_s: float | None = None
    boot_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything a decision rests on, for one fleet, taken at `taken_at` on the clock of `now`."""

    taken_at: float
    demand: Demand | Unknown = UNKNOWN
    workers: tuple[Worker, ...] | Unknown = UNKNOWN
    machines: tuple[Machine, ...] | Unknown = UNKNOWN
    broker: Broker | Unknown = UNKNOWN
    failures: Failures = Failures()
    pace: Pace = Pace()


WAIT_S: Final[Mapping[Tier, float]] = {Tier.HIGH: 120.0, Tier.NORMAL: 600.0, Tier.LOW: 3600.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One fleet's limits and objectives. Seconds and counts."""

    min: int = 0
    max: int = 1
    wait_s: Mapping[Tier, float] = field(default_factory=lambda: WAIT_S)
    """Within which a job of each class is to be started."""
    theta: float = 0.8
    """The share of it that is planned with; the rest is for what no plan knows."""
    slots: int = 1
    """Of a worker that was not heard of yet."""
    service_prior_s: float = 30.0
    boot_prior_s: float = 240.0
    """What a boot is taken to last until one was seen."""
    idle_s: float = 120.0
    settled_s: float = 60.0
    """A worker that is ready for less is not sent away, however long its machine had nothing to do."""
    boot_s: float = 600.0
    """A machine whose worker is not ready by then, nor after three usual boots, is given up."""
    per_hour: Decimal | None = None
    """What one worker more would cost; None: nobody has told."""
    drain_s: float = 180.0
    """A draining worker without a job is given up after this; above the worker's own drain deadline."""
    leave_s: float = 30.0
    """What a machine may take to end once its worker has said goodbye."""
    patience_s: float = 900.0
    """A worker that was asked to leave should have done so by then, whatever it had in hand."""
    silent_s: float = 30.0
    """A worker that is no machine of the fleet is no capacity after three heartbeats that did not come."""
    lost_s: float = 90.0
    stale_s: float = 60.0
    gap_s: float = 90.0
    """Of a longer time between two looks nobody says how many workers were there."""
    launch_step: int = 5
    backoff_s: float = 2.0
    backoff_cap_s: float = 300.0

    def __post_init__(self) -> None:
        if not 0 <= self.min <= self.max or self.slots < 1:
            raise ValueError("a fleet needs 0 <= min <= max and slots >= 1")
        if not 0 < self.theta <= 1 or min(self.wait_s.values()) <= 0 or len(self.wait_s) < len(Tier):
            raise ValueError("a fleet needs 0 < theta <= 1 and an objective above 0 for each class")
        if self.service_prior_s <= 0 or self.boot_prior_s < 0:
            raise ValueError("a job takes time, and a boot no less than none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """Who is there: machines of the fleet, and workers that somebody else started."""

    serving: int = 0
    starting: int = 0
    leaving: int = 0


class Bound(enum.StrEnum):
    """What keeps a fleet from the number that its jobs ask for."""

    MAX = "max"
    MIN = "min"
    JOBS = "jobs"
    """No more workers than there are jobs for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do now, and why.

    Attributes:
        want: Workers aimed at, or None: hold, nothing is decided.
        have: Workers that serve or are about to.
        asked: Workers that the jobs ask for, before any limit; None: it is not known.
        bound: The limit that made `want` another number.
        crew: Who is there; None: it is not known.
        launch: Machines to start.
        drain: Workers to ask to leave, by id.
        terminate: Machines whose worker is gone, never came or is lost, by id.
        late: Workers that were asked to leave too long ago and are still there, by id.
        alarms: Contradictions somebody should look at, in words.
    """

    want: int | None
    have: int
    reason: str
    asked: int | None = None
    bound: Bound | None = None
    crew: Crew | None = None
    launch: int = 0
    drain: tuple[str, ...] = ()
    terminate: tuple[str, ...] = ()
    late: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()

    @property
    def acts(self) -> bool:
        """Whether anything is to be done."""
        return bool(self.launch or self.drain or self.terminate)
