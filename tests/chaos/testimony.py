"""What clients saw, as it happened; the checker's first source. Imports nothing of the product."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import ClassVar

TERMINAL_EVENTS = frozenset({"job.succeeded", "job.failed", "job.canceled", "job.expired"})


@dataclass(slots=True)
class Submission:
    """One job somebody wanted.

    Attributes:
        key: Its Idempotency-Key, the same in every try.
        kind: What the job does.
        ids: Of the jobs it was told to have become; one, if all is well.
        accepted_at: Seconds since the epoch.
        unknown: Tries whose outcome nobody told; from the first on it is repeated until somebody does.
        refused: Tries that were answered with a refusal, or that nobody received.
        gave_up: It was refused and not repeated.
    """

    key: str
    kind: str
    ids: set[str] = field(default_factory=set)
    accepted_at: float = 0.0
    unknown: int = 0
    refused: int = 0
    gave_up: bool = False


@dataclass(slots=True, eq=False)
class Subscription:
    """One follower of one job.

    Attributes:
        job_id: Whom it follows.
        gateway: Where it is connected now; empty while it is not.
        connected: Times it was.
        got: (seq, type, seconds since the epoch) of every state event, in the order of arrival.
        repeats: State events it was sent again.
    """

    job_id: str
    gateway: str = ""
    connected: int = 0
    got: list[tuple[int, str, float]] = field(default_factory=list)
    repeats: int = 0

    @property
    def cursor(self) -> int:
        """`seq` of the newest state event it has."""
        return self.got[-1][0] if self.got else 0

    @property
    def ended(self) -> bool:
        """It got the terminal event."""
        return bool(self.got) and self.got[-1][1] in TERMINAL_EVENTS

    def hear(self, seq: int, kind: str) -> None:
        """Note an event."""
        if kind == "job.progress":
            return
        if seq <= self.cursor:
            self.repeats += 1
        else:
            self.got.append((seq, kind, time.time()))


@dataclass(slots=True)
class Testimony:
    """All of it.

    Attributes:
        unexpected: Answers that no client should ever see, counted by their text.
        requests: Submits under way, by gateway.
    """

    __test__: ClassVar[bool] = False  # pytest takes everything that begins with Test

    submissions: list[Submission] = field(default_factory=list)
    subscriptions: list[Subscription] = field(default_factory=list)
    unexpected: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    requests: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    cancels: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    @property
    def accepted(self) -> int:
        """Submissions answered with a job."""
        return sum(bool(submission.ids) for submission in self.submissions)

    def watching(self, gateway: str = "") -> list[Subscription]:
        """Who is connected (there) and still waits."""
        return [
            each
            for each in self.subscriptions
            if each.gateway and not each.ended and (not gateway or each.gateway == gateway)
        ]
