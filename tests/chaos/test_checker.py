"""The checker is checked: a clean story is clean, and each lie turns up in its own column, and only there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.chaos.books import Books, Change, Row
from tests.chaos.checker import judge
from tests.chaos.plan import LOSES_LEASE, TIMES, plan_for
from tests.chaos.sabotaged import SABOTAGES
from tests.chaos.strikes import QUEUED, RUNNING, Strike, overlapping, recovery_s, tallies
from tests.chaos.testimony import Submission, Subscription, Testimony
from tests.stack import ROOT

JOB = "job-1"
OUTPUT = {"note": {"uri": f"s3://leveret/chaos/{JOB}/1/note.json", "size": 7}}


def event(at: float, seq: int, kind: str) -> Change:
    return Change(at, "event", seq=seq, type=f"job.{kind}")


def move(at: float, old: str, new: str, *, fences: tuple[int, int] = (1, 1), attempt: int = 1) -> Change:
    return Change(at, "job changed", old, new, fences[0], fences[1], attempt)


class Story:
    """A job that was accepted, claimed, done, stored and told; to be falsified."""

    def __init__(self) -> None:
        self.seen = Testimony()
        self.submission = Submission("key-1", "noop", ids={JOB}, accepted_at=1.0)
        self.seen.submissions.append(self.submission)
        self.subscription = Subscription(JOB, connected=1)
        for seq, kind in enumerate(("job.queued", "job.running", "job.succeeded"), 1):
            self.subscription.hear(seq, kind)
        self.seen.subscriptions.append(self.subscription)
        self.rows = {JOB: Row(JOB, "succeeded", 1, 1, 3, "key-1", {"outputs": OUTPUT})}
        self.changes = [
            Change(1.0, "job inserted", None, "queued", None, 0, 0),
            event(1.0, 1, "queued"),
            move(2.0, "queued", "running", fences=(0, 1)),
            event(2.0, 2, "running"),
            move(3.0, "running", "succeeded"),
            event(3.0, 3, "succeeded"),
        ]
        self.stored = {f"chaos/{JOB}/1/note.json": 7}

    @property
    def books(self) -> Books:
        return Books(self.rows, {JOB: self.changes}, self.stored, {JOB: 1})

    def found(self) -> dict[str, int]:
        """The columns that are not zero."""
        bold = judge(self.seen, self.books).bold
        return {name: len(jobs) for name, jobs in bold.items() if jobs}


def test_a_clean_story_is_clean() -> None:
    story = Story()
    verdict = judge(story.seen, story.books)
    assert verdict.clean
    assert (verdict.counts["accepted"], verdict.counts["succeeded"]) == (1, 1)


def stay_running(story: Story) -> None:
    story.rows[JOB] = replace(story.rows[JOB], state="running")


def vanish(story: Story) -> None:
    del story.rows[JOB]


def end_again(story: Story) -> None:
    story.changes += [move(4.0, "succeeded", "failed"), event(4.0, 4, "failed")]


def commit_again(story: Story) -> None:
    story.changes.append(event(4.0, 4, "succeeded"))


def tell_nobody(story: Story) -> None:
    story.subscription.got.pop()


def skip_an_event(story: Story) -> None:
    del story.subscription.got[1]


def lose_the_bytes(story: Story) -> None:
    story.stored.clear()


def cut_the_bytes(story: Story) -> None:
    story.stored[f"chaos/{JOB}/1/note.json"] = 3


def answer_with_two_ids(story: Story) -> None:
    story.submission.ids.add("job-2")
    story.rows["job-2"] = replace(story.rows[JOB], id="job-2", state="failed", last={}, key="key-2")


def insert_twice(story: Story) -> None:
    story.rows["job-2"] = replace(story.rows[JOB], id="job-2", state="failed", last={})


def refuse_and_run(story: Story) -> None:
    story.submission.ids.clear()
    story.submission.gave_up = True


def commit_stale_bytes(story: Story) -> None:
    story.rows[JOB] = replace(story.rows[JOB], fence=2)


def skip_running(story: Story) -> None:
    story.changes[2:4] = []
    story.changes[2] = move(3.0, "queued", "succeeded")
    story.subscription.got[:] = [(1, "job.queued", 1.0), (3, "job.succeeded", 3.0)]


def claim_under_the_old_fence(story: Story) -> None:
    story.changes[2] = move(2.0, "queued", "running", fences=(1, 1))


def start_anew(story: Story, times: int, back: str, *, attempts: tuple[int, int]) -> None:
    """So many starts before the one that is told, each ended by a move back; the row says 1 all the same."""
    before: list[Change] = []
    for fence in range(1, times + 1):
        before += [
            move(1.1, "queued", "running", fences=(fence - 1, fence), attempt=attempts[0]),
            move(1.2, "running", back, fences=(fence, fence), attempt=attempts[1]),
        ]
        before += [move(1.3, back, "queued", fences=(fence, fence))] if back != "queued" else []
    story.changes[2] = move(2.0, "queued", "running", fences=(times, times + 1))
    story.changes[2:2] = before


def start_four_times_and_never_count(story: Story) -> None:
    start_anew(story, 3, "queued", attempts=(1, 1))


def give_back_what_asked_for_another_try(story: Story) -> None:
    start_anew(story, 3, "waiting", attempts=(1, 0))


def give_back_for_ever(story: Story) -> None:
    start_anew(story, 21, "queued", attempts=(1, 0))


def never_let_in(story: Story) -> None:
    story.subscription.got.clear()
    story.subscription.connected = 0


def answer_500(story: Story) -> None:
    story.seen.unexpected["500 internal_error"] += 1


LIES: list[tuple[Callable[[Story], None], set[str]]] = [
    (stay_running, {"lost"}),
    (vanish, {"lost"}),
    (end_again, {"ended twice", "illegal move"}),
    (commit_again, {"ended twice", "result committed twice"}),
    (tell_nobody, {"terminal event missed"}),
    (skip_an_event, {"event order broken"}),
    (lose_the_bytes, {"outputs missing"}),
    (cut_the_bytes, {"outputs missing"}),
    (answer_with_two_ids, {"one key, two jobs"}),
    (insert_twice, {"one key, two jobs"}),
    (refuse_and_run, {"refused yet accepted"}),
    (commit_stale_bytes, {"stale result"}),
    (skip_running, {"illegal move"}),
    (claim_under_the_old_fence, {"claim without new fence"}),
    (start_four_times_and_never_count, {"too many attempts"}),
    (give_back_what_asked_for_another_try, {"too many attempts"}),
    (give_back_for_ever, {"too many attempts"}),
    (never_let_in, {"terminal event missed"}),
    (answer_500, {"undocumented answer"}),
]


@pytest.mark.parametrize(("lie", "columns"), LIES, ids=[lie.__name__ for lie, _ in LIES])
def test_a_lie_turns_up_in_its_column(lie: Callable[[Story], None], columns: set[str]) -> None:
    story = Story()
    lie(story)
    assert set(story.found()) == columns


def test_a_job_that_nobody_was_told_of_counts_as_well() -> None:
    story = Story()
    story.submission.ids.clear()  # its outcome stayed unknown
    stay_running(story)
    assert story.found() == {"lost": 1}


def test_starts_that_were_given_back_are_free() -> None:
    story = Story()
    start_anew(story, 20, "queued", attempts=(1, 0))
    assert story.found() == {}


def test_a_follower_of_a_job_without_an_end_missed_none() -> None:
    story = Story()
    stay_running(story)
    never_let_in(story)
    assert story.found() == {"lost": 1}


def test_what_a_fault_hit_and_how_long_it_took() -> None:
    story = Story()
    story.subscription.got[2] = (3, "job.succeeded", 7.5)
    blow = Strike("cut", 2.5, 2.5, 1, frozenset({JOB}))
    hole = Strike("hole", 2.5, 5.0, 1, watchers=(story.subscription,))
    idle = Strike("hole", 90.0, 91.0, 1)
    found = tallies([blow, hole, idle], story.books)
    assert (found["hole"].times, found["hole"].idle, found["hole"].jobs, found["hole"].hits) == (2, 1, 1, 2)
    assert recovery_s(blow, story.books) == pytest.approx(0.5)
    assert recovery_s(hole, story.books) == pytest.approx(2.5)
    assert overlapping([blow], story.books) == 1.0
    assert overlapping([idle], story.books) == 0.0


@pytest.mark.parametrize(
    ("strike", "idle"),
    [
        (Strike("running", 2.5, 2.5, 1, suits=RUNNING, aimed=frozenset({JOB})), False),
        (Strike("only queued yet", 1.5, 1.5, 1, suits=RUNNING, aimed=frozenset({JOB})), True),
        (Strike("claimed meanwhile", 1.5, 2.5, 1, suits=RUNNING), False),
        (Strike("queued", 1.5, 1.5, 1, suits=QUEUED), False),
        (Strike("running already", 2.5, 2.6, 1, suits=QUEUED), True),
        (Strike("aimed at another", 2.5, 2.5, 1, aimed=frozenset({"job-2"})), True),
        (Strike("over", 3.5, 4.0, 9), True),
        (Strike("in flight, but nothing was struck", 2.5, 2.5, 0), True),
    ],
    ids=lambda value: getattr(value, "kind", str(value)),
)
def test_a_fault_without_a_job_in_flight_is_idle(strike: Strike, *, idle: bool) -> None:
    assert tallies([strike], Story().books)[strike.kind].idle == idle


@pytest.mark.parametrize("what", SABOTAGES)
def test_what_is_to_be_taken_out_of_the_product_is_in_it(what: str) -> None:
    take_out = f"from tests.chaos.sabotaged import SABOTAGES; SABOTAGES[{what!r}]()"
    subprocess.run([sys.executable, "-c", take_out], check=True, timeout=30, cwd=ROOT)


def test_a_full_plan_has_every_kind_three_times_and_its_seed_repeats_it() -> None:
    plan = plan_for("seed", 3)
    kinds = [each.kind for each in plan.appointments]
    assert {kinds.count(kind) for kind in plan.kinds} == {TIMES}
    assert plan == plan_for("seed", 3)
    assert plan != plan_for("another", 3)


def test_a_short_plan_has_fewer_kinds_as_often() -> None:
    plan = plan_for("seed", 1)
    kinds = [each.kind for each in plan.appointments]
    assert {kinds.count(kind) for kind in plan.kinds} == {TIMES}
    assert LOSES_LEASE not in kinds
