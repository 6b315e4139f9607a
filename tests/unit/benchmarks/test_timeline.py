"""The timeline's page and picture, and that it notices what it is there to notice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.timeline.books import doing
from benchmarks.timeline.plan import FULL, SHORT
from benchmarks.timeline.plots import draw
from benchmarks.timeline.recording import Counts, Decided, Doing, Look, Moments, Recording
from benchmarks.timeline.report import failures, page, told

GOOD = Counts(accepted=SHORT.jobs, lost=0, twice=0, killed_busy=0, silent=0, left=0)
MOMENTS = Moments(drained=3.0, who="naps-1", killed=4.0, taken_over=4.2, done=8.0, empty=9.5)


def look(at: float, **workers: Doing) -> Look:
    return Look(at=at, waiting={"high": 1} if 0 < at < 8 else {}, oldest_s=1.0, done=0, workers=workers)


LOOKS = (
    look(-1),
    look(1, a=Doing.STARTING),
    look(2, a=Doing.BUSY, b=Doing.BUSY),
    look(6, a=Doing.BUSY, b=Doing.LEAVING),
    look(9, a=Doing.IDLE),
    look(10),
)
DECIDED = Decided(at=1.0, want=2, have=0, did="start 2", reason="12 waiting")
GIVEN = Recording(looks=LOOKS, decisions=[DECIDED], moments=MOMENTS, counts=GOOD)


def test_seconds_are_counted_from_look_to_look() -> None:
    assert (GIVEN.worker_s, GIVEN.busy_s) == (1 + 8 + 6 + 1, 8 + 3)
    assert dict(told(GIVEN))["accepted, lost, twice"] == "30, 0, 0"


def test_all_that_is_to_hold_holds_here() -> None:
    assert failures(GIVEN, SHORT) == []


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        (replace(GIVEN, counts=replace(GOOD, accepted=29)), "all 30 are accepted"),
        (replace(GIVEN, counts=replace(GOOD, lost=1)), "none is lost"),
        (replace(GIVEN, counts=replace(GOOD, twice=1)), "none is done twice"),
        (replace(GIVEN, counts=replace(GOOD, killed_busy=1)), "nobody is killed at work"),
        (replace(GIVEN, counts=replace(GOOD, silent=1)), "everybody says goodbye"),
        (replace(GIVEN, looks=[look(-1, a=Doing.IDLE), *LOOKS]), "an idle stack holds no worker"),
        (
            replace(GIVEN, looks=[*LOOKS, look(3, a=Doing.BUSY, b=Doing.BUSY, c=Doing.BUSY), look(9)]),
            "at most 2",
        ),
        (replace(GIVEN, looks=[look(-1), look(1, a=Doing.BUSY), look(2)]), "workers share"),
        (replace(GIVEN, moments=replace(MOMENTS, taken_over=90.0)), "the standby leads within one look"),
    ],
)
def test_what_does_not_hold_is_named(wrong: Recording, what: str) -> None:
    [named] = failures(wrong, SHORT)
    assert named.startswith(what)


def test_a_workers_row_says_what_it_is_at() -> None:
    row = {"state": "ready", "drain": False, "busy": True}
    assert doing(None) is Doing.STARTING
    assert doing(row | {"state": "starting"}) is Doing.STARTING
    assert doing(row) is Doing.BUSY
    assert doing(row | {"busy": False}) is Doing.IDLE
    assert doing(row | {"drain": True}) is Doing.LEAVING
    assert doing(row | {"state": "gone"}) is Doing.LEAVING


def test_the_page_has_every_figure_and_the_picture_is_the_same_twice(tmp_path: Path) -> None:
    text = page(GIVEN, FULL, queue="naps", when="today", machine="here", servers="all")
    assert "| 1.0 | 2 | 0 | start 2 | 12 waiting |" in text
    assert "`leveret workers drain naps-1`" in text
    first, second = (draw(GIVEN, tmp_path / name).read_bytes() for name in ("a.svg", "b.svg"))
    assert first == second


def test_jobs_that_come_alone_come_ever_more_slowly() -> None:
    gaps = list(FULL.gaps())
    assert gaps == sorted(gaps)
    assert len(gaps) == FULL.trickle
    assert {FULL.job_s[0] <= FULL.seconds(number) <= FULL.job_s[1] for number in range(FULL.jobs)} == {True}
