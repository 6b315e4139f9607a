"""The rules: what clients do, what workers and gateways suffer, what servers do, and that time passes.

What the product does of itself (relay ticks of two replicas, renewals, retries, heartbeats) it does on the
own time of the loop; a rule only says how much of it passes, down to a single turn, so that a crash can
fall between any two awaits.
"""

from __future__ import annotations

from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.machine.processes import WorkerProcess
from tests.machine.submissions import SUBMISSIONS
from tests.machine.wire import Fault
from tests.machine.world import World

PICK = st.integers(0, 7)
SECONDS = st.sampled_from([0.05, 0.4, 1.0, 3.2, 8.6, 21.3, 45.7, 130.5])
TURNS = st.integers(1, 40)
GATEWAYS = 2
WORKERS = 3

KEYS = st.sampled_from([None, "a", "b", "c"])
FAULTS: st.SearchStrategy[list[Fault]] = st.lists(
    st.sampled_from(["refused", "lost", "landed", "late"]), min_size=1, max_size=4
)
LOST_ANSWERS: st.SearchStrategy[list[Fault]] = st.lists(
    st.sampled_from(["landed", "landed", "lost", "late"]), min_size=1, max_size=4
)


class Machine(RuleBasedStateMachine):
    """One world per run."""

    make_world: ClassVar[Any] = World
    supervised = True

    def __init__(self) -> None:
        super().__init__()
        self.world: World = type(self).make_world()

    @initialize(
        slots=st.tuples(st.integers(1, 3), st.integers(1, 2)),
        phase=st.sampled_from([0.05, 0.3, 0.55, 0.8]),
        supervised=st.sampled_from([True, True, False]),
        said=st.lists(SUBMISSIONS, min_size=2, max_size=5),
    )
    def begin(
        self,
        slots: tuple[int, int],
        phase: float,
        supervised: bool,  # noqa: FBT001  drawn
        said: list[dict[str, Any]],
    ) -> None:
        """Two replicas and two workers, whose seconds do not tick together, and work for them."""
        self.supervised = supervised
        for _ in range(GATEWAYS):
            self.world.start_gateway()
            self.world.loop.advance(phase)
        for count in slots:
            self.world.start_worker(queue="quick", slots=count, knows_all=False)
            self.world.loop.advance(0.37)
        for number, each in enumerate(said):
            self.world.submit(number % GATEWAYS, each, None)
        self.world.loop.advance(0.1)

    # what clients do

    @rule(gateway=PICK, said=SUBMISSIONS, key=KEYS, seconds=st.sampled_from([0.0, 0.1, 2.0]))
    def submit(self, gateway: int, said: dict[str, Any], key: str | None, seconds: float) -> None:
        self.world.submit(gateway % GATEWAYS, said, key)
        self._pass(seconds)

    @rule(gateway=PICK, said=st.lists(SUBMISSIONS, min_size=2, max_size=4), seconds=SECONDS)
    def submit_several(self, gateway: int, said: list[dict[str, Any]], seconds: float) -> None:
        for each in said:
            self.world.submit(gateway % GATEWAYS, each, None)
        self._pass(seconds)

    @rule(gateway=PICK, said=SUBMISSIONS, faults=LOST_ANSWERS)
    def submit_twice_sent(self, gateway: int, said: dict[str, Any], faults: list[Fault]) -> None:
        """Both copies reach one worker, where there is room, and the answers to their claims are lost."""
        self.world.broker.doubling = 1
        self.world.postgres.traps["claim"] = list(faults)
        self.world.submit(gateway % GATEWAYS, said, None)
        self._pass(0.1)

    @precondition(lambda self: self.world.said)
    @rule(gateway=PICK, pick=PICK)
    def repeat(self, gateway: int, pick: int) -> None:
        keys = sorted(self.world.said)
        self.world.submit(gateway % GATEWAYS, {"model": "echo@1"}, keys[pick % len(keys)])
        self._pass(0.0)

    @precondition(lambda self: self.world.truth.rows())
    @rule(gateway=PICK, pick=PICK)
    def cancel(self, gateway: int, pick: int) -> None:
        rows = self.world.truth.rows()
        self.world.cancel(gateway % GATEWAYS, rows[-1 - pick % len(rows)].id)
        self._pass(0.0)

    # time

    @rule(seconds=SECONDS)
    def let_time_pass(self, seconds: float) -> None:
        self._pass(seconds)

    @rule(turns=TURNS)
    def turn(self, turns: int) -> None:
        for _ in range(turns):
            self.world.loop.turn()

    @rule(seconds=st.sampled_from([-2.0, -2.0, -2.0, 10.0, 70.0]))
    def move_clock(self, seconds: float) -> None:
        self.world.truth.shift(seconds)
        self.world.clock_moved_at = self.world.loop.time()

    # what workers and gateways suffer

    @precondition(lambda self: len(self.world.workers) < WORKERS)
    @rule(queue=st.sampled_from(["quick", "quick", "slow"]), slots=st.integers(1, 3), knows_all=st.booleans())
    def start_worker(self, queue: str, slots: int, knows_all: bool) -> None:  # noqa: FBT001  drawn
        self.world.start_worker(queue=queue, slots=slots, knows_all=knows_all)
        self._pass(0.0)

    @precondition(lambda self: self.world.workers)
    @rule(pick=PICK, turns=TURNS)
    def kill_worker(self, pick: int, turns: int) -> None:
        self.turn(turns)
        self._worker(pick).kill()
        self._pass(0.0)

    @precondition(lambda self: self.world.workers)
    @rule(pick=PICK)
    def end_engine(self, pick: int) -> None:
        self._worker(pick).engine.end()
        self._pass(0.0)

    @precondition(lambda self: self.world.workers)
    @rule(pick=PICK, drain_s=st.sampled_from([0.0, 5.0, 100.0]))
    def drain_worker(self, pick: int, drain_s: float) -> None:
        self._worker(pick).drain(drain_s)
        self._pass(0.0)

    @rule(times=st.integers(1, 4))
    def replace_all_workers(self, times: int) -> None:
        """Deploys in a row: each drains all at once."""
        for _ in range(times):
            for worker in self.world.workers:
                worker.drain(0.0)
            self._pass(2.0)
            for slots in (1, 2):
                self.world.start_worker(queue="quick", slots=slots, knows_all=True)
            self._pass(2.0)

    @precondition(lambda self: self.world.workers)
    @rule(pick=PICK)
    def retire_worker(self, pick: int) -> None:
        self._worker(pick).retire()
        self._pass(0.0)

    @precondition(lambda self: self.world.workers)
    @rule(
        pick=PICK,
        drops=st.booleans(),
        seconds=st.sampled_from([3.2, 21.3, 33.4, 45.7]),
        resumes=st.sampled_from([True, True, False]),
    )
    def pause_worker(self, pick: int, drops: bool, seconds: float, resumes: bool) -> None:  # noqa: FBT001  drawn
        """The broker misses its heartbeats after a while, or not."""
        worker = self._worker(pick)
        worker.running.clear()
        if drops:
            worker.consumer.drop(back=True)
        self._pass(seconds)
        if resumes:
            self._resume(worker)

    @precondition(lambda self: self.world.workers)
    @rule(pick=PICK, drops=st.booleans())
    def cut_off_worker(self, pick: int, drops: bool) -> None:  # noqa: FBT001  drawn
        worker = self._worker(pick)
        worker.cut = True
        if drops:
            worker.consumer.drop(back=True)

    @precondition(lambda self: any(each.cut or not each.running.is_set() for each in self.world.workers))
    @rule()
    def resume_all(self) -> None:
        for worker in self.world.workers:
            if worker.cut or not worker.running.is_set():
                self._resume(worker)
        self._pass(0.0)

    @rule(pick=PICK, turns=TURNS)
    def restart_gateway(self, pick: int, turns: int) -> None:
        self.turn(turns)
        self.world.restart_gateway(pick % GATEWAYS)
        self._pass(0.0)

    # what servers do

    @rule(faults=FAULTS)
    def disturb_postgres(self, faults: list[Fault]) -> None:
        self.world.postgres.faults = list(faults)

    @rule(faults=FAULTS)
    def disturb_broker(self, faults: list[Fault]) -> None:
        self.world.broker.server.faults = list(faults)

    @rule(turns=TURNS, seconds=st.sampled_from([1.0, 21.3, 24.7, 45.7, 130.5]), fails_over=st.booleans())
    def lose_postgres(self, turns: int, seconds: float, fails_over: bool) -> None:  # noqa: FBT001  drawn
        """For a while; a server that comes back is young, or it was the way there that was cut."""
        self.turn(turns)
        self.world.postgres.leave()
        self._pass(seconds)
        if fails_over:
            self.world.fail_over()
        self.world.postgres.away = False

    @rule(latency_s=st.sampled_from([0.0, 0.0, 0.02, 0.3]))
    def slow_postgres(self, latency_s: float) -> None:
        self.world.postgres.latency_s = latency_s

    @rule(turns=TURNS, seconds=SECONDS)
    def lose_broker(self, turns: int, seconds: float) -> None:
        self.turn(turns)
        self.world.broker.leave()
        self._pass(seconds)
        self.world.broker.server.away = False

    @rule()
    def wipe_broker(self) -> None:
        self.world.broker.wipe()

    @rule(queue=st.sampled_from(["quick", "slow"]))
    def delete_queue(self, queue: str) -> None:
        self.world.broker.delete(queue)

    @precondition(lambda self: self.world.broker.consumers)
    @rule(pick=PICK)
    def drop_consumer(self, pick: int) -> None:
        self.world.broker.consumers[pick % len(self.world.broker.consumers)].drop(back=True)
        self._pass(0.0)

    @precondition(lambda self: self.world.broker.ready())
    @rule(pick=PICK)
    def lose_message(self, pick: int) -> None:
        ready = self.world.broker.ready()
        self.world.broker.lose(ready[pick % len(ready)])

    @precondition(lambda self: self.world.broker.sent)
    @rule(pick=PICK, times=st.integers(1, 3))
    def repeat_message(self, pick: int, times: int) -> None:
        sent = self.world.broker.sent
        for _ in range(times):
            self.world.broker.repeat(sent[-1 - pick % len(sent)])
        self._pass(0.0)

    @rule(body=st.sampled_from([b"", b"{}", b'{"v":1,"job_id":"00000000-0000-0000-0000-00000000ffff"}']))
    def send_garbage(self, body: bytes) -> None:
        if "quick" in self.world.broker.queues:
            self.world.broker.put("quick", body, 5)
        self._pass(0.0)

    @rule()
    def switch_redis(self) -> None:
        self.world.redis.away = not self.world.redis.away

    @invariant()
    def all_holds(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        try:
            self.world.heal()
            self.world.finish()
            self.world.check()
        finally:
            self.world.close()

    def _resume(self, worker: WorkerProcess) -> None:
        worker.disturbed_at = self.world.loop.time()
        worker.cut = False
        worker.running.set()

    def _worker(self, pick: int) -> WorkerProcess:
        return self.world.workers[pick % len(self.world.workers)]

    def _pass(self, seconds: float) -> None:
        """Let time pass, and forget who died in it; a supervisor replaces the last one."""
        self.world.loop.advance(seconds)
        self.world.bury()
        if self.supervised and not self.world.workers:
            self.world.start_worker(queue="quick", slots=1, knows_all=True)
