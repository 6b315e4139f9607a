"""Gateways and workers: the product's own parts, wired as its `wiring` modules wire them, over the fakes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from gateway.cancel import Canceler
from gateway.inputs import Inputs
from gateway.links import Links
from gateway.lookup import Lookup
from gateway.queues import Queues
from gateway.redelivery import Redelivery
from gateway.relay import Relay
from gateway.settings import Gateway
from gateway.submit import Submitter
from gpu_worker.announcer import Announcer
from gpu_worker.departure import Departure
from gpu_worker.execution import Execution
from gpu_worker.gate import Gate
from gpu_worker.handover import Handover
from gpu_worker.heartbeat import Heartbeat
from gpu_worker.hold import Hold
from gpu_worker.leases import Leases
from gpu_worker.marks import Marks
from gpu_worker.nudges import Nudges
from gpu_worker.serving import Server as MessageServer
from gpu_worker.worker import Worker
from shared.adapters.store.workers import WorkerIdentity
from shared.catalog import Catalog, Model
from shared.errors import OutcomeUnknown, Unavailable
from shared.events import Event
from tests.fakes.blobs import FakeBlobs
from tests.fakes.bus import FakeBus, FakeListener
from tests.fakes.worker import FakeObjects
from tests.machine.audit import Audit
from tests.machine.broker import Broker, Consumer, Publisher
from tests.machine.engine import Engine
from tests.machine.wire import Link, Process, Remote, Server

READS = {"job", "events", "attempts", "last_event", "seqs", "recover", "left", "silent"}
"""They change nothing, so a lost answer of theirs is no question."""


class Stores(Protocol):
    """A store by its faces; each method of a face returns at once."""

    def submits(self) -> Any: ...

    def claims(self, *, worker: str, models: list[str], slots: int) -> Any: ...

    def leases(self) -> Any: ...

    def attempts(self, *, worker: str) -> Any: ...

    def cancels(self) -> Any: ...

    def reads(self) -> Any: ...

    def relay(self) -> Any: ...

    def redelivery(self) -> Any: ...

    def beats(self, identity: WorkerIdentity) -> Any: ...


@dataclass
class Surroundings:
    """What all processes share."""

    postgres: Server
    redis: Server
    stores: Stores
    broker: Broker
    bus: FakeBus
    objects: FakeObjects
    scratch: Path
    audit: Audit
    catalog: Catalog
    die: Callable[[Process], None]
    """Kill a worker."""

    def remote(self, process: Process, store: Any) -> Any:
        return Remote(Link(process, self.postgres), store, _lost)


def _lost(name: str) -> type[Unavailable | OutcomeUnknown]:
    return Unavailable if name in READS else OutcomeUnknown


class Voice:
    """The bus as one process speaks to it."""

    def __init__(self, around: Surroundings, process: Process) -> None:
        self._around = around
        self._link = Link(process, around.redis)

    async def announce(self, tenant: str, event: Event, result: bytes | None = None) -> None:
        self._around.audit.announced(event)
        await self._link.call(lambda: None, lost=Unavailable)

    async def nudge(self, job_id: UUID) -> None:
        await self._link.call(lambda: None, lost=Unavailable)
        await self._around.bus.nudge(job_id)

    async def result(self, tenant: str, job_id: UUID) -> bytes | None:
        return None


class GatewayProcess(Process):
    """One replica, with its relay."""

    def __init__(self, around: Surroundings, name: str, *, relays: bool) -> None:
        super().__init__(name)
        loop = asyncio.get_running_loop()
        remote, stores = partial(around.remote, self), around.stores
        submits, reads = remote(stores.submits()), remote(stores.reads())
        publisher = Publisher(around.broker, self, around.catalog.queues)
        voice, blobs, bounds = Voice(around, self), FakeBlobs(), Gateway()
        self.submitter = Submitter(
            catalog=around.catalog,
            inputs=Inputs(blobs, "leveret"),
            queues=Queues(publisher, around.catalog.queues),
            store=submits,
            publisher=publisher,
        )
        lookup = Lookup(reads, voice, Links("http://gateway", blobs, public_store=False))
        self.canceler = Canceler(remote(stores.cancels()), voice, lookup)
        relay = Relay(
            rows=remote(stores.relay()),
            redelivery=Redelivery(remote(stores.redelivery()), publisher, bounds, clock=loop.time),
            submits=submits,
            reads=reads,
            publisher=publisher,
            bus=voice,
            clock=loop.time,
        )
        if relays:
            self.tasks.append(loop.create_task(relay.run(), name=f"{name} relay"))


class WorkerProcess(Process):
    """One worker, from its consumer to its heartbeat."""

    def __init__(
        self, around: Surroundings, name: str, *, queue: str, models: list[Model], slots: int, knows_all: bool
    ) -> None:
        super().__init__(name)
        loop = asyncio.get_running_loop()
        self.queue = queue
        self.departure = Departure(clock=loop.time)
        self.knows_all = knows_all
        self._around = around
        refs = [model.ref for model in models]
        claims = around.remote(self, around.stores.claims(worker=name, models=refs, slots=slots))
        voice, identity = (
            Voice(around, self),
            WorkerIdentity(id=name, queue=queue, host=name, device="cpu", slots=slots),
        )
        self.announcer = Announcer(voice, around.remote(self, around.stores.reads()))
        self.leases = Leases(around.remote(self, around.stores.leases()))
        heartbeat = Heartbeat(
            around.remote(self, around.stores.beats(identity)), self.leases, retire=self.retire
        )
        self.engine = Engine(self, around, stages=(slots + 1) // 2)
        self._gate, self._marks = Gate(), Marks(claims, self.leases)
        self.consumer = Consumer(around.broker, self, queue=queue, slots=slots)
        worker = Worker(
            claims=claims,
            attempts=around.remote(self, around.stores.attempts(worker=name)),
            leases=self.leases,
            models={model.ref: model for model in models},
            execution=self._execution,
            announcer=self.announcer,
            dead_letters=Publisher(around.broker, self, ()),
            changed=heartbeat.notice,
            setback=self.consumer.step_down,
            admitted=self._gate.admitted,
        )
        handover = Handover(self.leases)
        self.server = MessageServer(
            self.consumer, worker, handover, on_leave=lambda: heartbeat.enter("draining")
        )
        around.audit.slots[name] = slots
        listener: FakeListener = around.bus.listener()
        for each in (heartbeat, self.leases, self.consumer, self._marks):
            self.tasks.append(loop.create_task(each.run(), name=f"{name} {type(each).__name__}"))
        self.tasks.append(loop.create_task(listener.run(Nudges(self.leases)), name=f"{name} nudges"))
        self.serving = loop.create_task(self._serve(), name=f"{name} serving")
        self.tasks.append(self.serving)

    def kill(self) -> None:
        super().kill()
        self.consumer.drop(back=True)

    @property
    def leaves(self) -> bool:
        return self.departure.asked.is_set()

    def drain(self, drain_s: float) -> None:
        self.departure.within("signal", drain_s)

    def retire(self) -> None:
        self.departure.retire("scaler")

    def holds(self, job_id: UUID, fence: int) -> bool:
        hold = self.leases._held.get(job_id)
        return not self.dead and hold is not None and hold.claim.fence == fence

    async def _serve(self) -> None:
        await self.server.run(self.departure)
        self._around.die(self)

    def _execution(self, hold: Hold, model: Model) -> Execution:
        self._around.audit.started(self.name, hold.claim)
        self.engine.claims[f"{hold.claim.id}/{hold.claim.fence}"] = hold.claim
        return Execution(
            hold=hold,
            model=model,
            engine=self.engine,
            gate=self._gate,
            objects=self._around.objects,
            scratch=self._around.scratch,
            tell_progress=partial(self.announcer.tell_progress, hold.claim),
            begun=partial(self._marks.begun, hold),
        )
