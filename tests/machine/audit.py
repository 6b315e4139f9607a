"""What must hold of every change, every ack and every announcement. It believes nothing that the product says
of itself: it sees rows as they were and are, and what crossed the wires."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from shared.events import Event, EventType
from shared.jobs import TRANSITIONS, Claim, State
from tests.machine.table import Row

ENTERING: dict[State, set[EventType]] = {
    State.WAITING: {EventType.RETRYING},
    State.QUEUED: {EventType.QUEUED, EventType.RELEASED, EventType.RETRYING},
    State.RUNNING: {EventType.RUNNING},
    State.SUCCEEDED: {EventType.SUCCEEDED},
    State.FAILED: {EventType.FAILED},
    State.CANCELED: {EventType.CANCELED},
    State.EXPIRED: {EventType.EXPIRED},
}
Key = tuple[UUID, int]
"""A job and the fence of one of its attempts."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A row at the moment its message was delivered."""

    seq: int
    published_at: datetime | None


@dataclass
class Audit:
    """Collects what was broken; the machine looks after every step.

    Attributes:
        max_releases: Attempts given back at most.
        entered: Attempts that an engine began with.
        at_work: Those of them of which PostgreSQL must know it.
        excused: Whether the worker that holds an attempt had troubles of its own, so that it may be lost.
        row: The row as it is now.
    """

    max_releases: int
    excused: Callable[[str, Key], bool]
    row: Callable[[UUID], Row | None]
    broken: list[str] = field(default_factory=list)
    starts: Counter[UUID] = field(default_factory=Counter)
    runs: Counter[Key] = field(default_factory=Counter)
    entered: set[Key] = field(default_factory=set)
    at_work: set[Key] = field(default_factory=set)
    slots: dict[str, int] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    changes: int = 0

    def changed(self, old: Row | None, new: Row, events: list[Event]) -> None:
        """A committed change, and the whole history of its job."""
        self.changes += 1
        self._check_row(new)
        self._check_history(new, events)
        if old is None:
            self._must(new.state in {State.QUEUED, State.WAITING}, new, "began elsewhere")
            return
        self._must(not old.state.terminal, new, f"changed after it had ended as {old.state}")
        self._must(new.fence >= old.fence, new, "the fence went back")
        if old.state is not new.state:
            self._check_move(old, new, events[-1])
        else:
            self._must(new.seq == old.seq, new, "a new seq without a new state")

    def started(self, worker: str, claim: Claim) -> None:
        """A worker runs an attempt."""
        self.runs[claim.id, claim.fence] += 1
        if self.runs[claim.id, claim.fence] > 1:
            self.broken.append(f"{worker} runs one claim twice: {claim.id} under fence {claim.fence}")

    def left(self, claim: Claim, before: Row | None) -> None:
        """A worker moved a row out of `running`, which was `before`."""
        if before is None or before.fence != claim.fence:
            self.broken.append(f"a stale worker moved {claim.id}: its fence is {claim.fence}")

    def acked(self, job_id: UUID, seen: Seen | None) -> None:
        """The broker forgot a message: somebody else must own the next step."""
        row = self.row(job_id)
        if row is None or row.state is not State.QUEUED or row.publish_due is not None:
            return
        moved = seen is None or row.seq != seen.seq or row.published_at != seen.published_at
        self._must(moved, row, "acknowledged, and nobody owns what comes next")

    def announced(self, event: Event) -> None:
        """Somebody told the subscribers."""
        self.counts[event.type.value] += 1
        row = self.row(event.job_id)
        committed = row is not None and row.seq >= event.seq
        ended = not event.type.terminal or (row is not None and row.state.terminal)
        if not (committed and ended):
            self.broken.append(f"{event.type} of {event.job_id} was announced before it was committed")

    def check_rows(self, rows: list[Row]) -> None:
        """What must hold between two changes as well."""
        for row in rows:
            self._check_row(row)

    def _check_row(self, row: Row) -> None:
        self._must(row.attempt <= row.spec.max_attempts, row, "more attempts than it may have")
        self._must(row.attempt >= 0, row, "fewer attempts than none")
        match row.state:
            case State.WAITING:
                self._must(row.run_at is not None, row, "waits for nothing")
            case State.QUEUED:
                reachable = row.publish_due is not None or row.published_at is not None
                self._must(reachable, row, "queued, and nothing will publish it")
            case State.RUNNING:
                self._must(row.lease_until is not None and bool(row.worker), row, "runs without an owner")
            case _:
                self._must(row.publish_due is None, row, "ended, and is to be published")
        if row.state is not State.RUNNING:
            self._must(row.lease_until is None, row, "a lease of nobody")
            self._must(row.state.terminal or not row.cancel_requested, row, "a cancel was forgotten")
        self._must((row.finished_at is not None) == row.state.terminal, row, "its end is not dated")

    def _check_history(self, row: Row, events: list[Event]) -> None:
        self._must(
            [event.seq for event in events] == list(range(1, row.seq + 1)), row, "a gap in its history"
        )
        first = State.QUEUED if row.seq == 1 else row.state
        self._must(events[-1].type in ENTERING[first], row, f"in it by {events[-1].type}")
        ends = [event for event in events if event.type.terminal]
        self._must(len(ends) == row.state.terminal, row, "its history ends otherwise than it")

    def _check_move(self, old: Row, new: Row, event: Event) -> None:
        self._must(new.state in TRANSITIONS[old.state], new, f"came from {old.state}")
        self._must(new.seq == old.seq + 1, new, "one state, not one event")
        if new.alone and not old.alone:
            self._must(self._to_blame(old), new, "is to run alone, and was in no engine")
        if new.state is State.RUNNING:
            self._check_start(old, new)
        if old.state is State.RUNNING and new.fence > old.fence:
            self._check_loss(old, new)
        if new.state is State.SUCCEEDED:
            fences = {output["uri"].split("/")[-2] for output in event.data["outputs"].values()}
            self._must(fences == {str(new.fence)}, new, f"its result is of the fences {fences}")

    def _check_start(self, old: Row, new: Row) -> None:
        self.starts[new.id] += 1
        self._must(new.fence == old.fence + 1, new, "claimed under an old fence")
        given_back = self.starts[new.id] - new.attempt
        self._must(given_back <= self.max_releases, new, f"{given_back} attempts given back")

    def _check_loss(self, old: Row, new: Row) -> None:
        """The relay took it from its worker."""
        key, worker = (old.id, old.fence), old.worker or ""
        self.counts["lost_worker"] += 1
        self._must(self.excused(worker, key), new, f"taken from {worker}, which lives and renews")
        blamed = new.attempt == old.attempt
        self._must(self._to_blame(old) or not blamed, new, "blamed, and was in no engine")
        self._must(
            blamed or key not in self.at_work, new, "was at work in a worker that died, and is not blamed"
        )

    def _to_blame(self, row: Row) -> bool:
        """An engine began with its attempt, or may have for all one knows; or it was spared often enough."""
        inside = (row.id, row.fence) in self.entered or self.slots.get(row.worker or "") == 1
        return inside or row.releases >= self.max_releases

    def _must(self, holds: bool, row: Row, why: str) -> None:  # noqa: FBT001  a condition
        if not holds:
            self.broken.append(f"{row.id.int} is {row.state} (seq {row.seq}, fence {row.fence}): {why}")
