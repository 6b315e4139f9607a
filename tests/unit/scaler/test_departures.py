"""For how long workers have been leaving: by their rows, or since they were seen to be asked."""

from __future__ import annotations

from dataclasses import replace

from scaler.departures import Departures, longest_s
from scaler.snapshot import UNKNOWN, Machine, Snapshot, Worker, WorkerState

READY = Worker(id="a", state=WorkerState.READY, since_s=500.0)
ASKED = replace(READY, drain=True)
DRAINING = Worker(id="a", state=WorkerState.DRAINING, drain=True, since_s=30.0)


def told(departures: Departures, worker: Worker, now: float) -> float | None:
    found = departures.watch((worker,), now)
    assert isinstance(found, tuple)
    return found[0].leaving_s


def test_one_that_never_hears_of_it_has_been_leaving_since_it_was_asked() -> None:
    departures = Departures()

    assert told(departures, READY, 100.0) is None
    assert told(departures, ASKED, 110.0) == 0.0
    assert departures.watch(UNKNOWN, 120.0) is UNKNOWN
    assert told(departures, ASKED, 1010.0) == 900.0


def test_a_row_knows_more_than_a_scaler_that_has_just_begun() -> None:
    assert told(Departures(), DRAINING, 100.0) == 30.0


def test_one_that_may_stay_after_all_begins_anew() -> None:
    departures = Departures()
    told(departures, ASKED, 100.0)

    assert told(departures, READY, 200.0) is None
    assert told(departures, ASKED, 300.0) == 0.0


def test_only_the_fleets_own_living_machines_count() -> None:
    workers = (replace(DRAINING, leaving_s=30.0), replace(DRAINING, id="b", leaving_s=900.0))
    machines = (Machine(id="a", age_s=50.0), Machine(id="b", age_s=50.0, alive=False))

    assert longest_s(Snapshot(taken_at=0, workers=workers, machines=machines)) == 30.0
    assert longest_s(Snapshot(taken_at=0, workers=(), machines=())) == 0.0
    assert longest_s(Snapshot(taken_at=0, workers=workers)) is None
