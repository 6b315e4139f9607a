"""All processes and servers of one run on one loop whose time the machine owns."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar
from unittest.mock import patch
from uuid import UUID

import structlog

from gateway import submit as submit_module
from gateway.intake import Intake
from gateway.schemas import Submission
from shared.adapters.store import attempts as attempts_module
from shared.adapters.store import claims as claims_module
from shared.adapters.store import relay as relay_module
from shared.catalog import Catalog
from shared.errors import IdempotencyConflict, JobEnded, LeveretError
from tests.fakes.bus import FakeBus
from tests.fakes.clock import VirtualTimeLoop
from tests.fakes.worker import FakeObjects
from tests.machine import limits
from tests.machine.audit import Audit, Key, Seen
from tests.machine.broker import Broker, Held, job_of
from tests.machine.memory import MemoryStores
from tests.machine.processes import GatewayProcess, Stores, Surroundings, WorkerProcess
from tests.machine.table import Row
from tests.machine.wire import Process, Server
from tests.unit.gpu_worker.claims import model

T = TypeVar("T")

TENANT = "acme"
EXCUSED_S = 30.0
"""A lease that lapses so long after its worker's own troubles is not to be wondered at."""
STAGNATION_S = 1500.0
"""Longer than any retry, lease, promotion or republication that a run of the machine can have pending."""
CATALOG = Catalog(
    (
        model(name="echo", version="1", queue="quick", timeout_s=100.0),
        model(name="echo", version="2", queue="quick", timeout_s=100.0, retry_on=["ValueError"]),
        model(name="night", version="1", queue="slow", timeout_s=100.0),
    )
)


class Truth(Stores, Protocol):
    """A store, with what a test may do to it."""

    def row(self, job_id: UUID) -> Row | None: ...

    def rows(self) -> list[Row]: ...

    def shift(self, seconds: float) -> None: ...

    def fail_over(self) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Caller:
    tenant: str = TENANT
    name: str = "test"
    role: str = "user"
    s3_prefixes: tuple[str, ...] = ()


@dataclass
class World:
    """One run.

    Attributes:
        accepted: Jobs answered 202.
        said: By Idempotency-Key what was sent first.
        answers: By Idempotency-Key the job it was answered with.
    """

    make_truth: Callable[[Callable[[], float], Audit], Truth] = MemoryStores
    relays: bool = True
    accepted: set[UUID] = field(default_factory=set)
    said: dict[str, Intake] = field(default_factory=dict)
    answers: dict[str, UUID] = field(default_factory=dict)
    gateways: list[GatewayProcess] = field(default_factory=list)
    workers: list[WorkerProcess] = field(default_factory=list)
    all_workers: dict[str, WorkerProcess] = field(default_factory=dict)
    unexpected: list[str] = field(default_factory=list)
    clock_moved_at: float = float("-inf")

    def __post_init__(self) -> None:
        self._undo = ExitStack()
        self._patch()
        self.loop = VirtualTimeLoop()
        self.loop.set_exception_handler(lambda _, context: self.unexpected.append(repr(context)))
        self.audit = Audit(limits.MAX_RELEASES, self._excused, self._row)
        self.truth = self.make_truth(self.loop.time, self.audit)
        self.postgres, self.redis = Server("PostgreSQL"), Server("Redis")
        self.broker = Broker(Server("RabbitMQ"), delivered=self._delivered, acked=self._acked)
        self.objects = FakeObjects()
        self._seen: dict[Held, Seen | None] = {}
        self.around = Surroundings(
            postgres=self.postgres,
            redis=self.redis,
            stores=self.truth,
            broker=self.broker,
            bus=FakeBus(),
            objects=self.objects,
            scratch=Path(tempfile.mkdtemp(prefix="leveret-machine-")),
            audit=self.audit,
            catalog=CATALOG,
            die=self.die,
        )

    def _patch(self) -> None:
        numbers = iter(range(1, 1 << 30))
        self._undo.enter_context(
            patch.object(submit_module, "uuid7", lambda: UUID(int=next(numbers)))
        )  # a run repeats itself, ids and all
        for module in (attempts_module, relay_module):
            self._undo.enter_context(patch.object(module, "MAX_RELEASES", limits.MAX_RELEASES))
        self._undo.enter_context(patch.object(claims_module, "MAX_MISSES", limits.MAX_MISSES))
        before = structlog.get_config()
        self._undo.callback(lambda: structlog.configure(**before))
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))

    def inside(self, make: Callable[[], T]) -> T:
        """Call `make` where there is a running loop."""
        made: list[T] = []
        self.loop.call_soon(lambda: made.append(make()))
        self.loop.turn()
        return made[0]

    def start_gateway(self) -> None:
        name = f"gateway-{len(self.gateways)}"
        self.broker.declare(CATALOG.queues)
        self.gateways.append(self.inside(lambda: GatewayProcess(self.around, name, relays=self.relays)))

    def restart_gateway(self, number: int) -> None:
        old = self.gateways[number]
        old.kill()
        self.gateways[number] = self.inside(lambda: GatewayProcess(self.around, old.name, relays=self.relays))

    def start_worker(self, *, queue: str, slots: int, knows_all: bool) -> None:
        models = [
            each for each in CATALOG.models if each.queue == queue and (knows_all or each.version == "1")
        ]
        name = f"worker-{len(self.all_workers)}"
        worker = self.inside(
            lambda: WorkerProcess(
                self.around, name, queue=queue, models=models, slots=slots, knows_all=knows_all
            )
        )
        self.workers.append(worker)
        self.all_workers[name] = worker

    def die(self, process: Process) -> None:
        """kill -9, from the inside of it or from without."""
        self.loop.call_soon(process.kill)

    def bury(self) -> None:
        self.workers = [worker for worker in self.workers if not worker.dead]

    def submit(self, gateway: int, said: dict[str, Any], key: str | None) -> None:
        intake = Intake(Submission.model_validate(said), {})
        if key is not None:
            intake = self.said.setdefault(key, intake)
        process = self.gateways[gateway]
        process.tasks.append(self.loop.create_task(self._submit(process, intake, key)))

    async def _submit(self, process: GatewayProcess, intake: Intake, key: str | None) -> None:
        try:
            answer = await process.submitter.submit(Caller(), intake, idempotency_key=key, traceparent=None)
        except IdempotencyConflict:
            self.audit.broken.append(f"a repeat with the key {key} was taken for a conflict")
        except LeveretError:
            return
        else:
            self._note_accepted(answer.submitted.id, key)

    def _note_accepted(self, job_id: UUID, key: str | None) -> None:
        self.accepted.add(job_id)
        if self.truth.row(job_id) is None:
            self.audit.broken.append(f"{job_id} was accepted, and is nowhere")
        if key is not None and self.answers.setdefault(key, job_id) != job_id:
            self.audit.broken.append(f"the key {key} made a second job")

    def cancel(self, gateway: int, job_id: UUID) -> None:
        process = self.gateways[gateway]
        process.tasks.append(self.loop.create_task(self._cancel(process, job_id)))

    async def _cancel(self, process: GatewayProcess, job_id: UUID) -> None:
        try:
            await process.canceler.cancel(TENANT, job_id)
        except (JobEnded, LeveretError):
            return

    def fail_over(self) -> None:
        """PostgreSQL comes up anew, and may have lost who was at work."""
        self.truth.fail_over()
        self.audit.at_work.clear()

    def heal(self) -> None:
        """Everything comes back: servers, gateways, and a worker for each queue that knows its models."""
        for server in (self.postgres, self.redis, self.broker.server):
            server.heal()
        self.objects.failures.clear()
        for process in (*self.gateways, *self.workers):
            process.cut = False
            process.running.set()

    def staff(self) -> None:
        """See to it that each queue has a worker that knows all its models."""
        self.bury()
        for queue in CATALOG.queues:
            able = [
                worker
                for worker in self.workers
                if worker.queue == queue and not worker.leaves and worker.knows_all
            ]
            if not able:
                self.start_worker(queue=queue, slots=1, knows_all=True)

    def finish(self) -> None:
        """Run until every job has ended, or nothing happens any more.

        Raises:
            AssertionError: A job is lost.
        """
        seen, since = -1, self.loop.time()
        while open_ := [row for row in self.truth.rows() if not row.state.terminal]:
            self.staff()
            self.loop.advance(10.0)
            moves = sum(row.seq for row in self.truth.rows())
            if moves != seen:
                seen, since = moves, self.loop.time()
            self.check()
            lost = [f"{row.id.int} {row.state} {row.publish_due} {row.published_at}" for row in open_]
            assert self.loop.time() - since < STAGNATION_S, f"lost: {lost}"
        missing = [job_id for job_id in self.accepted if self.truth.row(job_id) is None]
        assert not missing, f"lost: {missing}"

    def check(self) -> None:
        """What must hold after every step."""
        self.audit.check_rows(self.truth.rows())
        assert not self.audit.broken, "\n".join(self.audit.broken)
        self.unexpected += [
            f"{task.get_name()}: {task.exception()!r}"
            for process in (*self.gateways, *self.workers)
            for task in process.tasks
            if task.done() and not task.cancelled() and task.exception()
        ]
        assert not self.unexpected, "\n".join(self.unexpected)

    def close(self) -> None:
        for process in (*self.gateways, *self.all_workers.values()):
            process.running.set()
            process.kill()
        for _ in range(10):
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.settle()
        assert not asyncio.all_tasks(self.loop), "some task cannot be cancelled"
        self.loop.close()
        self.truth.close()
        shutil.rmtree(self.around.scratch)
        self._undo.close()

    def _row(self, job_id: UUID) -> Row | None:
        return self.truth.row(job_id)

    def _excused(self, worker: str, key: Key) -> bool:
        process, now = self.all_workers.get(worker), self.loop.time()
        if process is None or not process.holds(*key) or process.cut or not process.running.is_set():
            return True
        return now - max(process.disturbed_at, self.clock_moved_at) < EXCUSED_S

    def _delivered(self, held: Held) -> None:
        row = self._row_of(held)
        self._seen[held] = Seen(row.seq, row.published_at) if row else None

    def _acked(self, held: Held) -> None:
        if row := self._row_of(held):
            self.audit.acked(row.id, self._seen.pop(held))

    def _row_of(self, held: Held) -> Row | None:
        try:
            return self.truth.row(job_of(held.message))
        except ValueError:
            return None
