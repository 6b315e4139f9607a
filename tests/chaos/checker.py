"""Judges a run by what clients saw, what the audit wrote and what S3 holds. Imports nothing of the product.

`BOLD` are the columns that must be zero. Each names its jobs, so that a run that failed can be looked into.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.chaos.books import Books, Change, Row
from tests.chaos.testimony import TERMINAL_EVENTS, Subscription, Testimony

TERMINAL = frozenset({"succeeded", "failed", "canceled", "expired"})
MOVES = {
    "waiting": {"queued", "canceled", "expired"},
    "queued": {"running", "waiting", "failed", "canceled", "expired"},
    "running": {"succeeded", "failed", "canceled", "queued", "waiting"},
}
"""As the published state diagram has them; written here anew, on purpose."""
FREE_STARTS = 20
"""So often a job may be given back without having spent an attempt."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run comes to.

    Attributes:
        counts: Of everything that may be anything.
        bold: What must be empty: by column the jobs (or keys) it happened to.
    """

    counts: Mapping[str, int]
    bold: Mapping[str, Sequence[str]]

    @property
    def clean(self) -> bool:
        """Every bold column is zero."""
        return not any(self.bold.values())


def judge(seen: Testimony, books: Books) -> Verdict:
    """Compare the three sources."""
    promised = {job_id for submission in seen.submissions for job_id in submission.ids}
    return Verdict(
        counts=_counts(seen, books),
        bold={
            "lost": sorted(_lost(promised, books)),
            "ended twice": _jobs(books, _ended_twice),
            "result committed twice": _jobs(books, _result_twice),
            "terminal event missed": _missed(seen, books),
            "outputs missing": [row.id for row in books.rows.values() if not _outputs_are_there(row, books)],
            "event order broken": _out_of_order(seen, books),
            "stale result": [row.id for row in books.rows.values() if _stale(row)],
            "one key, two jobs": _doubled_keys(seen, books),
            "refused yet accepted": _refused_yet_there(seen, books),
            "illegal move": _jobs(books, _illegal),
            "claim without new fence": _jobs(books, _unfenced),
            "too many attempts": [row.id for row in books.rows.values() if _started_too_often(row, books)],
            "undocumented answer": [f"{count} x {what}" for what, count in seen.unexpected.items()],
        },
    )


def _counts(seen: Testimony, books: Books) -> dict[str, int]:
    states = Counter(row.state for row in books.rows.values())
    return {
        "submitted": len(seen.submissions),
        "accepted": seen.accepted,
        "refused": sum(each.gave_up for each in seen.submissions),
        "unknown": sum(not each.ids and not each.gave_up for each in seen.submissions),
        "unknown at first": sum(bool(each.unknown) for each in seen.submissions),
        **{state: states[state] for state in ("succeeded", "failed", "canceled", "expired")},
        "executed twice": sum(count > 1 for count in books.executions.values()),
        "subscribers": len(seen.subscriptions),
        "resumes": sum(max(0, each.connected - 1) for each in seen.subscriptions),
        "repeated events": sum(each.repeats for each in seen.subscriptions),
    }


def _jobs(books: Books, wrong: Callable[[Sequence[Change]], bool]) -> list[str]:
    return [job_id for job_id, changes in books.changes.items() if wrong(changes)]


def _lost(promised: Iterable[str], books: Books) -> Iterator[str]:
    """Accepted, by an answer or by a row that nobody was told of, and without an end."""
    for job_id in {*promised, *books.rows}:
        row = books.rows.get(job_id)
        if row is None or row.state not in TERMINAL:
            yield job_id


def _ended_twice(changes: Sequence[Change]) -> bool:
    events = [each for each in changes if each.what == "event" and each.type in TERMINAL_EVENTS]
    ends = [each for each in changes if each.what == "job changed" and each.state in TERMINAL]
    reopened = [each for each in changes if each.what.startswith("job ") and each.old_state in TERMINAL]
    return len(events) > 1 or len(ends) > 1 or bool(reopened)


def _result_twice(changes: Sequence[Change]) -> bool:
    results = [each for each in changes if each.what == "event" and each.type == "job.succeeded"]
    return len(results) > 1 or any(each.what == "event changed" for each in changes)


def _missed(seen: Testimony, books: Books) -> list[str]:
    """Followers of jobs that have ended, who were never told: let in or not, they never ceased to ask."""
    ended = {row.id for row in books.rows.values() if row.state in TERMINAL}
    return [each.job_id for each in seen.subscriptions if each.job_id in ended and not each.ended]


def _out_of_order(seen: Testimony, books: Books) -> list[str]:
    return [each.job_id for each in seen.subscriptions if not _in_order(each, books)]


def _in_order(subscription: Subscription, books: Books) -> bool:
    """Every state event up to the newest it got, each as it was committed, none skipped."""
    happened = [
        (each.seq, each.type) for each in books.changes.get(subscription.job_id, ()) if each.what == "event"
    ]
    got = [(seq, kind) for seq, kind, _ in subscription.got]
    return got == happened[: len(got)]


def _outputs_are_there(row: Row, books: Books) -> bool:
    """A succeeded job's outputs lie in S3, whole."""
    if row.state != "succeeded":
        return True
    outputs = row.last.get("outputs") or {}
    return bool(outputs) and all(
        books.stored.get(_key(output["uri"])) == output["size"] for output in outputs.values()
    )


def _key(uri: str) -> str:
    return urlsplit(uri).path.lstrip("/")


def _stale(row: Row) -> bool:
    """The outputs were written under another fence than the one that the row ended with."""
    outputs = (row.last.get("outputs") or {}) if row.state == "succeeded" else {}
    return any(_key(output["uri"]).split("/")[-2] != str(row.fence) for output in outputs.values())


def _doubled_keys(seen: Testimony, books: Books) -> list[str]:
    told = [each.key for each in seen.submissions if len(each.ids) > 1]
    stored = Counter(row.key for row in books.rows.values())
    return told + [str(key) for key, count in stored.items() if count > 1]


def _refused_yet_there(seen: Testimony, books: Books) -> list[str]:
    keys = {row.key for row in books.rows.values()}
    return [each.key for each in seen.submissions if each.gave_up and each.key in keys]


def _illegal(changes: Sequence[Change]) -> bool:
    moves = [each for each in changes if each.what == "job changed" and each.old_state != each.state]
    return any(each.state not in MOVES.get(each.old_state or "", ()) for each in moves) or any(
        each.what == "job deleted" for each in changes
    )


def _unfenced(changes: Sequence[Change]) -> bool:
    return any(
        each.state == "running" and each.old_state == "queued" and (each.fence or 0) <= (each.old_fence or 0)
        for each in changes
        if each.what == "job changed"
    )


def _started_too_often(row: Row, books: Books) -> bool:
    """By the audit's own count of `queued` to `running`: what the row says of its attempts is not asked.

    A start is free only if the job went straight back to `queued`, and the attempt that its claim had added
    was visibly taken off again in that very move.
    """
    spent = free = claimed_as = 0
    for each in books.changes.get(row.id, ()):
        if (each.old_state, each.state) == ("queued", "running"):
            spent, claimed_as = spent + 1, each.attempt or 0
        elif (each.old_state, each.state) == ("running", "queued") and each.attempt == claimed_as - 1:
            spent, free = spent - 1, free + 1
        if spent > row.max_attempts or free > FREE_STARTS:
            return True
    return False
