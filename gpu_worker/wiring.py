"""The one place where the worker's resources open and its parts meet. Reading it top to bottom is the tour.

The order is the order of need: PostgreSQL first, since without it nothing can be claimed; the consumer last,
since from its first message on everything else must be ready. Heartbeats and renewals outlive the work.
"""

from __future__ import annotations

import os
import socket
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import structlog
from prometheus_client import REGISTRY
from uuid_utils.compat import uuid7

from gpu_worker.announcer import Announcer
from gpu_worker.catalog import Repertoire
from gpu_worker.departure import Departure
from gpu_worker.engine.attempt import Limits
from gpu_worker.engines import Engines, devices_of
from gpu_worker.execution import Execution
from gpu_worker.gate import Gate
from gpu_worker.gauges import Devices, show_worker
from gpu_worker.handover import Handover
from gpu_worker.heartbeat import Heartbeat
from gpu_worker.hold import Hold
from gpu_worker.leases import Leases
from gpu_worker.marks import Marks
from gpu_worker.measures import expect
from gpu_worker.nudges import Nudges
from gpu_worker.nvml import Cards
from gpu_worker.preemption import Watcher
from gpu_worker.serving import Server
from gpu_worker.settings import WorkerSettings
from gpu_worker.sources import Sources
from gpu_worker.trail import Trails
from gpu_worker.vitals import Vitals
from gpu_worker.worker import Worker
from shared.adapters.blobs import Blobs, open_blobs
from shared.adapters.broker import Publisher, open_publisher
from shared.adapters.bus import Bus, open_bus
from shared.adapters.catalogs import source_of
from shared.adapters.consumer import Consumer
from shared.adapters.imds import open_imds
from shared.adapters.store.attempts import AttemptStore
from shared.adapters.store.claims import ClaimStore
from shared.adapters.store.leases import LeaseStore
from shared.adapters.store.pool import Database, open_database
from shared.adapters.store.reads import ReadStore
from shared.adapters.store.workers import WorkerIdentity, WorkerStore
from shared.adapters.web import Web, open_web
from shared.catalog import Model
from shared.catalog.shelf import Shelf
from shared.errors import DeviceMissing
from shared.lifecycle import Lifecycle
from shared.tariff import Tariff
from shared.telemetry.admin import Check, reachable, serve_admin
from shared.telemetry.conventions import destination
from shared.telemetry.export import open_tracing
from shared.telemetry.tracing import Tracing

log = structlog.get_logger()

SPARE_CONNECTIONS = 2
"""Beside one per slot: for claims, and for what is read and repaired meanwhile."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What is open while the worker lives."""

    scratch: Path
    database: Database
    private: Database
    """For renewals and heartbeats, a connection each: busy commits or a slow beat must not cost a lease."""
    blobs: Blobs
    web: Web
    bus: Bus
    publisher: Publisher
    engines: Engines
    announcer: Announcer
    tracing: Tracing


async def serve(settings: WorkerSettings, lifecycle: Lifecycle) -> None:
    """Run the worker until it is asked to drain, then let go of everything in good order."""
    me = _identity(settings)
    structlog.contextvars.bind_contextvars(worker=me.id, queue=me.queue)
    async with AsyncExitStack() as stack:
        departure = await _departure(settings, lifecycle, stack)
        opened = await _open(settings, me, stack, departure)
        await _work(settings, lifecycle, me, opened, departure)
    log.info("worker.stopped")
    if departure.failure is not None:
        raise departure.failure


async def _work(
    settings: WorkerSettings,
    lifecycle: Lifecycle,
    me: WorkerIdentity,
    opened: Resources,
    departure: Departure,
) -> None:
    consumer = _consumer(settings, me)
    me = await _serve_admin(settings, lifecycle, me, opened, consumer)
    models, tariff = Repertoire(me.queue), _tariff(settings)
    leases, roll = Leases(LeaseStore(opened.private)), WorkerStore(opened.private, me, tariff)
    await roll.sweep()
    heartbeat = Heartbeat(
        roll, leases, retire=partial(departure.retire, "scaler"), vitals=Vitals(opened.engines, Cards())
    )
    worker = _worker(
        opened, me, models, leases, heartbeat, tariff=tariff, consumer=consumer, lifecycle=lifecycle
    )
    lifecycle.spawn("heartbeat", heartbeat.run)
    lifecycle.spawn("leases", leases.run)
    lifecycle.spawn("nudges", partial(opened.bus.listener().run, Nudges(leases)))
    _show(me, opened, leases)
    await departure.unless_asked(_stock(settings, opened, models, lifecycle))
    lifecycle.spawn("consumer", consumer.run)
    heartbeat.enter("ready")
    log.info("worker.ready", device=me.device, slots=me.slots, models=list(models))
    server = Server(consumer, worker, Handover(leases), on_leave=lambda: heartbeat.enter("draining"))
    await server.run(departure)
    lifecycle.cancel_side_tasks()
    await heartbeat.leave()


async def _open(
    settings: WorkerSettings, me: WorkerIdentity, stack: AsyncExitStack, departure: Departure
) -> Resources:
    """Open in the order of need; the stack closes in reverse."""
    tracing = await stack.enter_async_context(
        open_tracing(settings.tracing, service="worker", instance=me.id)
    )
    scratch = Path(stack.enter_context(_scratch(settings)))
    size = min(settings.postgres.pool_size, me.slots + SPARE_CONNECTIONS)
    database = await stack.enter_async_context(open_database(settings.postgres, name="worker", size=size))
    private = await stack.enter_async_context(open_database(settings.postgres, name="worker-lease", size=2))
    blobs = await stack.enter_async_context(open_blobs(settings.s3))
    web = stack.enter_context(open_web(settings.web))
    bus = await stack.enter_async_context(open_bus(settings.redis))
    publisher = await stack.enter_async_context(open_publisher(settings.rabbitmq, name=me.id))
    engines = Engines(
        devices=devices_of(me.device, settings.worker.engines),
        scratch=scratch,
        limits=_limits(settings),
        on_missing=partial(departure.fail, seconds=settings.worker.drain_s),
    )
    stack.push_async_callback(engines.stop)
    announcer = Announcer(bus, ReadStore(database, currency=settings.cost.currency))
    stack.push_async_callback(announcer.settle)
    return Resources(scratch, database, private, blobs, web, bus, publisher, engines, announcer, tracing)


def _show(me: WorkerIdentity, opened: Resources, leases: Leases) -> None:
    """What is shown without being counted on any job's way."""
    expect(me.queue)
    show_worker(me.queue, me.slots, lambda: leases.busy)
    REGISTRY.register(Devices(me.queue, opened.engines, Cards()))


def _consumer(settings: WorkerSettings, me: WorkerIdentity) -> Consumer:
    """Its first slots are as many as its engines; those above only wait in their line."""
    first = settings.worker.engines
    return Consumer(
        settings.rabbitmq, queue=me.queue, slots=me.slots, name=me.id, since=time.time(), first=first
    )


def _limits(settings: WorkerSettings) -> Limits:
    own = settings.worker
    return Limits(
        load_s=own.load_s,
        jobs=own.engine_jobs,
        memory_mb=own.engine_memory_mb,
        kill_mb=own.engine_memory_kill_mb,
        models_mb=own.model_memory_mb,
    )


async def _departure(settings: WorkerSettings, lifecycle: Lifecycle, stack: AsyncExitStack) -> Departure:
    """Hears of signals, and of the machine's end; the heartbeat tells it what the scaler wants."""
    own, departure = settings.worker, Departure()

    async def heed_signals() -> None:
        await lifecycle.draining.wait()
        departure.within("signal", own.drain_s)

    lifecycle.spawn("signals", heed_signals)
    if own.preemption == "ec2":
        imds = await stack.enter_async_context(open_imds(own.imds_url))
        lifecycle.spawn("preemption", Watcher(imds, departure).run)
    return departure


async def _stock(
    settings: WorkerSettings, opened: Resources, models: Repertoire, lifecycle: Lifecycle
) -> None:
    """Read the catalog, bring this queue's models here and load them; then keep an eye on it."""
    source = source_of(settings.catalog, opened.blobs, wanted=models.wants)
    shelf = Shelf(source, refresh_s=settings.catalog.refresh_s, adopt=models.adopt)
    await shelf.open()
    if settings.worker.preload:
        lacking = await opened.engines.preload(models.values())
        if lacking and len(lacking) == len(models):
            raise DeviceMissing(str(lacking[0]))
        lifecycle.spawn("warm", partial(models.warm, opened.engines.preload))
    lifecycle.spawn("catalog", shelf.run)


def _worker(
    opened: Resources,
    me: WorkerIdentity,
    models: Repertoire,
    leases: Leases,
    heartbeat: Heartbeat,
    *,
    tariff: Tariff,
    consumer: Consumer,
    lifecycle: Lifecycle,
) -> Worker:
    claims = ClaimStore(opened.database, worker=me.id, models=models, slots=me.slots)
    marks, gate = Marks(claims, leases), Gate()
    lifecycle.spawn("marks", marks.run)
    return Worker(
        claims=claims,
        attempts=AttemptStore(opened.database, worker=me.id, tariff=tariff),
        leases=leases,
        models=models,
        execution=partial(_execution, opened=opened, gate=gate, marks=marks),
        announcer=opened.announcer,
        dead_letters=opened.publisher,
        trails=Trails(opened.tracing, destination(me.queue)),
        changed=heartbeat.notice,
        setback=consumer.step_down,
        admitted=gate.admitted,
    )


def _execution(hold: Hold, model: Model, *, opened: Resources, gate: Gate, marks: Marks) -> Execution:
    return Execution(
        hold=hold,
        model=model,
        engine=opened.engines,
        gate=gate,
        objects=Sources(opened.blobs, opened.web),
        scratch=opened.scratch,
        tell_progress=partial(opened.announcer.tell_progress, hold.claim),
        begun=partial(marks.begun, hold),
    )


async def _serve_admin(
    settings: WorkerSettings,
    lifecycle: Lifecycle,
    me: WorkerIdentity,
    opened: Resources,
    consumer: Consumer,
) -> WorkerIdentity:
    """Who this is, with where its metrics are read: the system may have chosen the port."""
    own = settings.worker
    port = await serve_admin(lifecycle, own.admin_host, own.admin_port, _checks(opened, consumer))
    return replace(me, admin=own.admin_address or reachable(own.admin_host, port))


def _checks(opened: Resources, consumer: Consumer) -> dict[str, Check]:
    return {
        "postgresql": opened.database.ping,
        "rabbitmq": consumer.ping,
        "redis": opened.bus.ping,
        "s3": opened.blobs.ping,
    }


def _identity(settings: WorkerSettings) -> WorkerIdentity:
    own = settings.worker
    return WorkerIdentity(
        id=own.id or f"{own.queue}-{uuid7().hex[-12:]}",
        queue=own.queue,
        host=f"{socket.gethostname()}:{os.getpid()}",
        device=own.device,
        slots=own.slots,
        gpus=_gpus(settings),
        per_hour=own.price_per_hour,
    )


def _tariff(settings: WorkerSettings) -> Tariff:
    """By the worker's own settings; the heartbeat brings what the scaler knows."""
    own = settings.worker
    return Tariff(
        currency=settings.cost.currency,
        device=own.device,
        slots=own.slots,
        gpus=_gpus(settings),
        per_hour=own.price_per_hour,
    )


def _gpus(settings: WorkerSettings) -> int:
    """An engine has one of its own."""
    return settings.worker.engines if settings.worker.device == "cuda" else 0


def _scratch(settings: WorkerSettings) -> tempfile.TemporaryDirectory[str]:
    root = settings.worker.scratch.resolve()
    root.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix="leveret-worker-", dir=root, ignore_cleanup_errors=True)
