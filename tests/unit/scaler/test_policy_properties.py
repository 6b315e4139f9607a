"""What must hold of the scaler's rule whatever it observes."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from scaler.policy import decide
from scaler.snapshot import (
    UNKNOWN,
    Backlog,
    Broker,
    Config,
    Demand,
    Failures,
    Machine,
    Snapshot,
    Tier,
    Worker,
    WorkerState,
)

NOW = 10_000.0
NAMES = st.sampled_from([f"w{number}" for number in range(8)])
AGES = st.floats(min_value=0, max_value=2000)

backlogs = st.builds(Backlog, waiting=st.integers(0, 50), oldest_s=AGES)
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
        drain=st.booleans(),
        since_s=AGES,
        idle_s=st.none() | AGES,
        heartbeat_s=st.floats(min_value=0, max_value=400),
    ),
    unique_by=lambda worker: worker.id,
).map(tuple)
machines = st.lists(
    st.builds(Machine, id=NAMES, age_s=AGES, alive=st.booleans()), unique_by=lambda machine: machine.id
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
)
configs = st.builds(
    lambda low, extra, per, idle: Config(min=low, max=low + extra, per_worker=per, idle_s=idle),
    st.integers(0, 3),
    st.integers(0, 6),
    st.integers(1, 5),
    st.floats(min_value=1, max_value=300),
)


def living(snapshot: Snapshot) -> set[str]:
    assert snapshot.machines is not UNKNOWN
    return {machine.id for machine in snapshot.machines if machine.alive}


@given(snapshots, configs)
def test_counts_are_never_negative_and_never_above_the_maximum(snapshot: Snapshot, config: Config) -> None:
    decision = decide(snapshot, config, NOW)

    assert decision.launch >= 0
    assert decision.have >= 0
    assert decision.want is None or 0 <= decision.want <= max(config.max, decision.have)
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


@given(snapshots, configs, st.integers(1, 50))
def test_more_work_never_means_fewer_workers(snapshot: Snapshot, config: Config, more: int) -> None:
    if isinstance(snapshot.demand, str):
        return
    loaded = replace(snapshot.demand, tiers={**snapshot.demand.tiers, Tier.HIGH: Backlog(waiting=50 + more)})
    before = decide(snapshot, config, NOW)
    after = decide(replace(snapshot, demand=loaded), config, NOW)

    assert (before.want is None and not after.drain) or (after.want or 0) >= (before.want or 0)
