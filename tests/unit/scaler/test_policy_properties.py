"""What must hold of the scaler's rule whatever it observes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.credit import Times, credit_of
from scaler.policy import decide
from scaler.roles import Hand, Role, Roster
from scaler.snapshot import (
    UNKNOWN,
    Backlog,
    Broker,
    Config,
    Demand,
    Failures,
    Machine,
    Pace,
    Snapshot,
    Tier,
    Worker,
    WorkerState,
)

NOW = 10_000.0
NAMES = st.sampled_from([f"w{number}" for number in range(8)])
AGES = st.floats(min_value=0, max_value=2000)

backlogs = st.builds(Backlog, waiting=st.integers(0, 50), oldest_s=AGES, newest_s=AGES)
demands = st.builds(
    Demand, tiers=st.dictionaries(st.sampled_from(list(Tier)), backlogs), running=st.integers(0, 20)
)
busy = st.integers(0, 2)
workers = st.lists(
    st.builds(
        Worker,
        id=NAMES,
        state=st.sampled_from(list(WorkerState)),
        busy=busy,
        slots=st.integers(1, 4),
        drain=st.booleans(),
        since_s=AGES,
        idle_s=st.none() | AGES,
        heartbeat_s=st.floats(min_value=0, max_value=400),
    ),
    unique_by=lambda worker: worker.id,
).map(tuple)
machines = st.lists(
    st.builds(
        Machine, id=NAMES, age_s=AGES, alive=st.booleans(), doomed=st.booleans(), refused=st.booleans()
    ),
    unique_by=lambda machine: machine.id,
).map(tuple)
brokers = st.builds(Broker, ready=st.integers(0, 60), consumers=st.integers(0, 5))
unknown = st.just(UNKNOWN)
snapshots = st.builds(
    Snapshot,
    taken_at=st.floats(min_value=NOW - 100, max_value=NOW),
    demand=demands | unknown,
    workers=workers | unknown,
    machines=machines | unknown,
    broker=brokers | unknown,
    failures=st.builds(
        Failures, count=st.integers(0, 6), last_at=st.floats(min_value=NOW - 500, max_value=NOW)
    ),
    pace=st.builds(
        Pace,
        service_s=st.none() | st.floats(min_value=0.01, max_value=1000),
        boot_s=st.none() | st.floats(min_value=0, max_value=1000),
    ),
)
configs = st.builds(
    lambda low, extra, theta, slots, idle: Config(
        min=low, max=low + extra, theta=theta, slots=slots, idle_s=idle
    ),
    st.integers(0, 3),
    st.integers(0, 12),
    st.floats(min_value=0.1, max_value=1),
    st.integers(1, 5),
    st.floats(min_value=1, max_value=300),
)


def _worker(**told: Any) -> Worker:
    known: dict[str, Any] = {"state": WorkerState.READY, "since_s": 10.0, "idle_s": 10.0}
    return Worker(id="doomed", **(known | told))


def living(snapshot: Snapshot) -> set[str]:
    assert snapshot.machines is not UNKNOWN
    return {machine.id for machine in snapshot.machines if machine.alive}


@given(snapshots, configs)
def test_counts_are_never_negative_and_never_above_the_maximum(snapshot: Snapshot, config: Config) -> None:
    decision = decide(snapshot, config, NOW)

    assert decision.launch >= 0
    assert decision.have >= 0
    assert decision.want is None or 0 <= decision.want <= max(config.max, decision.have)
    assert decision.launch <= config.launch_step
    if decision.want is not None and UNKNOWN not in (snapshot.demand, snapshot.workers):
        assert decision.want >= config.min
    if decision.launch:
        assert len(living(snapshot)) + decision.launch <= config.max


@given(snapshots, configs)
def test_it_never_shrinks_on_unknown(snapshot: Snapshot, config: Config) -> None:
    decision = decide(snapshot, config, NOW)

    if UNKNOWN in (snapshot.demand, snapshot.workers, snapshot.machines):
        assert not decision.drain
        assert not decision.terminate
        assert decision.launch <= 1


@given(snapshots, configs)
def test_it_never_drains_or_ends_a_busy_worker(snapshot: Snapshot, config: Config) -> None:
    decision = decide(snapshot, config, NOW)

    records = {} if isinstance(snapshot.workers, str) else {worker.id: worker for worker in snapshot.workers}
    for name in decision.drain:
        assert records[name].busy == 0
        assert (records[name].idle_s or 0) >= config.idle_s
    for name in decision.terminate:
        record = records.get(name)
        heard = record and record.busy and record.heartbeat_s <= config.lost_s
        assert not (heard and record and record.state in (WorkerState.READY, WorkerState.DRAINING))


@given(snapshots, configs)
def test_it_acts_only_on_its_own_living_machines(snapshot: Snapshot, config: Config) -> None:
    decision = decide(snapshot, config, NOW)

    touched = {*decision.drain, *decision.terminate}
    assert not touched or touched <= living(snapshot)
    assert not set(decision.drain) & set(decision.terminate)


@given(snapshots, configs)
def test_it_never_leaves_fewer_than_the_minimum_or_the_busy(snapshot: Snapshot, config: Config) -> None:
    decision = decide(snapshot, config, NOW)

    if decision.drain:
        assert decision.have - len(decision.drain) >= config.min
        assert isinstance(snapshot.demand, Demand)
        assert not snapshot.demand.waiting
        assert not snapshot.demand.running or decision.have > len(decision.drain)


@given(snapshots, configs)
def test_it_is_stable_when_nothing_changes(snapshot: Snapshot, config: Config) -> None:
    assert decide(snapshot, config, NOW) == decide(snapshot, config, NOW)


@given(demands, configs)
def test_once_its_launches_boot_it_asks_for_no_more(demand: Demand, config: Config) -> None:
    """Counting only workers that are ready starts machines without end while the first one boots."""
    here: tuple[Machine, ...] = ()
    for turn in range(20):
        snapshot = Snapshot(taken_at=NOW, demand=demand, workers=(), machines=here)
        decision = decide(snapshot, config, NOW)
        here += tuple(Machine(id=f"{turn}-{number}", age_s=1) for number in range(decision.launch))

    assert decision.launch == 0
    assert len(here) <= config.max
    assert len(here) == decision.want


@given(snapshots, configs, st.sampled_from(list(Tier)), st.integers(1, 50))
def test_more_waiting_never_means_fewer_workers(
    snapshot: Snapshot, config: Config, tier: Tier, more: int
) -> None:
    if isinstance(snapshot.demand, str):
        return
    there = snapshot.demand.tiers.get(tier, Backlog())
    tiers = {**snapshot.demand.tiers, tier: replace(there, waiting=there.waiting + more)}
    before = decide(snapshot, config, NOW)
    after = decide(replace(snapshot, demand=replace(snapshot.demand, tiers=tiers)), config, NOW)

    assert not after.drain
    assert before.want is None or (after.want or 0) >= before.want
    assert after.launch >= before.launch


@given(snapshots, configs, st.sampled_from(list(Tier)), st.floats(min_value=0, max_value=1000))
def test_older_jobs_never_mean_fewer_workers(
    snapshot: Snapshot, config: Config, tier: Tier, more_s: float
) -> None:
    if isinstance(snapshot.demand, str):
        return
    there = snapshot.demand.tiers.get(tier, Backlog())
    aged = replace(there, oldest_s=there.oldest_s + more_s, newest_s=there.newest_s + more_s)
    tiers = {**snapshot.demand.tiers, tier: aged}
    before = decide(snapshot, config, NOW)
    after = decide(replace(snapshot, demand=replace(snapshot.demand, tiers=tiers)), config, NOW)

    assert (before.want is None) == (after.want is None)
    assert (after.want or 0) >= (before.want or 0)


doomed = st.one_of(
    st.just((Machine(id="doomed", age_s=300, doomed=True), _worker())),
    st.just((Machine(id="doomed", age_s=5, doomed=True), None)),
    st.just((Machine(id="doomed", age_s=300), _worker(drain=True))),
    st.just((Machine(id="doomed", age_s=300), _worker(state=WorkerState.DRAINING))),
    st.just((Machine(id="doomed", age_s=300), _worker(state=WorkerState.GONE))),
    st.just((Machine(id="doomed", age_s=300), _worker(heartbeat_s=91))),
    st.just((Machine(id="doomed", age_s=300, alive=False), _worker())),
    st.just((Machine(id="doomed", age_s=9000), None)),
    st.just((Machine(id="doomed", age_s=61, refused=True), None)),
    st.just((Machine(id="doomed", age_s=9000), _worker(state=WorkerState.STARTING))),
)


@given(snapshots, configs, doomed)
def test_it_never_counts_a_doomed_worker(
    snapshot: Snapshot, config: Config, one: tuple[Machine, Worker | None]
) -> None:
    """Draining, given notice, silent, dead, refused or never ready: with it or without, as much is wanted."""
    if isinstance(snapshot.machines, str) or isinstance(snapshot.workers, str) or snapshot.demand == UNKNOWN:
        return
    machine, worker = one
    here = snapshot.workers if worker is None else (*snapshot.workers, worker)
    added = replace(snapshot, machines=(*snapshot.machines, machine), workers=here)
    before, after = decide(snapshot, config, NOW), decide(added, config, NOW)

    if before.want is not None:
        assert (after.want, after.have, after.drain) == (before.want, before.have, before.drain)


@given(snapshots, configs)
def test_every_decision_says_why(snapshot: Snapshot, config: Config) -> None:
    decision = decide(snapshot, config, NOW)

    known = UNKNOWN not in (snapshot.demand, snapshot.workers) and decision.want is not None
    if isinstance(snapshot.demand, Demand) and known:
        assert decision.reason.startswith(
            f"{snapshot.demand.waiting} waiting, {snapshot.demand.running} running"
        )
        assert f"{decision.want} of at most {config.max} wanted" in decision.reason
    else:
        assert "unknown" in decision.reason or "too old" in decision.reason


slots = st.integers(1, 6)
seconds = st.floats(min_value=0, max_value=4000)


@given(slots, st.integers(0, 6), seconds, st.floats(min_value=0.1, max_value=500), seconds)
def test_a_worker_of_many_slots_is_worth_as_many_workers_of_one(
    many: int, busy: int, within_s: float, service_s: float, boot_s: float
) -> None:
    busy = min(busy, many)
    expected = Times(service_s=service_s, boot_s=boot_s)
    one = {"a": Hand(role=Role.BUSY if busy else Role.IDLE, slots=many, busy=busy)}
    apart = {
        str(slot): Hand(role=Role.BUSY if slot < busy else Role.IDLE, busy=int(slot < busy))
        for slot in range(many)
    }

    assert credit_of(Roster(one), busy, within_s, expected) == pytest.approx(
        credit_of(Roster(apart), busy, within_s, expected)
    )
