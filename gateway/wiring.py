"""The one place where the gateway's resources open and its parts meet. Reading it top to bottom is the tour.

The order is the order of need: what is opened later uses what is open already, so closing in reverse never
takes anything from under a user. PostgreSQL and the catalog must be there to start; RabbitMQ and Redis may be
away, since a job is accepted without them.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

import structlog
import uvicorn

from gateway.app import create_app
from gateway.audit import Audit
from gateway.auth import Authenticator
from gateway.bulk.desk import BulkDesk
from gateway.bulk.runner import BulkRunner
from gateway.cancel import Canceler
from gateway.doorkeeper import Doorkeeper
from gateway.feed import Feed
from gateway.gauges import Gauges
from gateway.inputs import Inputs
from gateway.links import Links
from gateway.lists.failures import Failures
from gateway.lists.jobs import Lists
from gateway.lists.statistics import Statistics
from gateway.live.hub import Hub
from gateway.live.jobs import LiveJobs
from gateway.live.sources import sources
from gateway.lookup import Lookup
from gateway.operations.accounts import Accounts
from gateway.operations.desk import Desk
from gateway.operations.keyring import Keyring
from gateway.origins import Origins
from gateway.overview.board import Around, Board
from gateway.overview.depths import Depths
from gateway.overview.history import History
from gateway.queues import Queues
from gateway.redelivery import Redelivery
from gateway.relay import Relay
from gateway.repairs import repairs_so_far
from gateway.retry import Retrier
from gateway.services import Services
from gateway.settings import Gateway, GatewaySettings
from gateway.submit import Submitter
from gateway.targets import targets_route
from gateway.tickets import Tickets
from shared.adapters.blobs import Blobs, open_blobs
from shared.adapters.broker import Publisher, open_publisher
from shared.adapters.bus import Bus, open_bus
from shared.adapters.catalogs import source_of
from shared.adapters.store.audit import AuditStore
from shared.adapters.store.bulk import BulkStore
from shared.adapters.store.cancels import CancelStore
from shared.adapters.store.evidence import EvidenceStore
from shared.adapters.store.failures import FailureStore
from shared.adapters.store.history import HistoryStore
from shared.adapters.store.keys import KeyStore
from shared.adapters.store.listing import ListingStore
from shared.adapters.store.live import LiveStore
from shared.adapters.store.operations import OperationsStore
from shared.adapters.store.overrides import OverrideStore
from shared.adapters.store.overview import OverviewStore
from shared.adapters.store.pauses import PauseStore
from shared.adapters.store.pool import Database, open_database
from shared.adapters.store.reads import ReadStore
from shared.adapters.store.redelivery import RedeliveryStore
from shared.adapters.store.relay import RelayStore
from shared.adapters.store.sessions import SessionStore
from shared.adapters.store.statistics import StatisticsStore
from shared.adapters.store.submits import SubmitStore
from shared.adapters.store.targets import TargetStore
from shared.adapters.store.usage import UsageStore
from shared.catalog.shelf import Shelf
from shared.lifecycle import Lifecycle
from shared.serving import EmbeddedServer
from shared.telemetry.admin import serve_admin
from shared.telemetry.export import open_tracing
from shared.telemetry.tracing import Tracing

log = structlog.get_logger()

WS_MAX_BYTES = 64 * 1024
WS_PING_S = 5
"""A peer that vanished is noticed by the ping that the kernel cannot deliver."""
UNREAD_MS = 5000
"""How long the kernel keeps bytes for a peer that acknowledges none (or takes none) before it gives up."""
FINISH_S = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """What has to be closed again."""

    tracing: Tracing
    database: Database
    blobs: Blobs
    bus: Bus
    publisher: Publisher


async def serve(settings: GatewaySettings, lifecycle: Lifecycle) -> None:
    """Run the gateway until it is asked to drain, then let go of everything in good order.

    Raises:
        Misconfigured: The catalog cannot be read, or PostgreSQL refuses the account.
        Unavailable: PostgreSQL is away.
    """
    async with AsyncExitStack() as stack:
        opened = await _open(settings, stack)
        queues = Queues(opened.publisher)
        catalog = _shelf(settings, opened, queues)
        await catalog.open()
        submits = SubmitStore(opened.database)
        services = _assemble(settings, catalog, opened, queues, submits)
        # A publish under way still needs the broker and the store, so it is settled before they close.
        stack.push_async_callback(services.submitter.settle)
        lifecycle.spawn("catalog", catalog.run)
        lifecycle.spawn("queues", queues.run)
        lifecycle.spawn("relay", _relay(settings, opened, submits).run)
        lifecycle.spawn("feed", services.feed.run)
        lifecycle.spawn("bulk", _bulk(opened, services).run)
        lifecycle.spawn("live", services.hub.run)
        lifecycle.spawn("accounts", services.accounts.run)
        lifecycle.spawn("gauges", _gauges(settings.gateway, opened, queues, services).run)
        await _serve_admin(settings.gateway, lifecycle, opened)
        await Doorkeeper(settings.gateway.host, KeyStore(opened.database)).admitted(lifecycle.draining)
        await _serve_public(settings.gateway, lifecycle, services)
        lifecycle.cancel_side_tasks()


async def _open(settings: GatewaySettings, stack: AsyncExitStack) -> _Opened:
    tracing = await stack.enter_async_context(
        open_tracing(settings.tracing, service="gateway", instance=f"{socket.gethostname()}:{os.getpid()}")
    )
    return _Opened(
        tracing=tracing,
        database=await stack.enter_async_context(open_database(settings.postgres, name="gateway")),
        blobs=await stack.enter_async_context(open_blobs(settings.s3)),
        bus=await stack.enter_async_context(open_bus(settings.redis)),
        publisher=await stack.enter_async_context(
            open_publisher(settings.rabbitmq, name="gateway", tracing=tracing)
        ),
    )


def _shelf(settings: GatewaySettings, opened: _Opened, queues: Queues) -> Shelf:
    """What is offered to clients. A new version waits a little, so that the workers know it first."""
    source = source_of(settings.catalog, opened.blobs, wanted=lambda _: False)
    return Shelf(source, refresh_s=settings.catalog.refresh_s, adopt=queues.adopt, lag=True)


def _assemble(
    settings: GatewaySettings, catalog: Shelf, opened: _Opened, queues: Queues, submits: SubmitStore
) -> Services:
    reads = ReadStore(opened.database, currency=settings.cost.currency)
    links = Links(
        settings.gateway.base_url,
        opened.blobs,
        public_store=settings.s3.public,
        trace_url=settings.gateway.trace_url,
    )
    lookup = Lookup(reads, opened.bus, links)
    audit, evidence = Audit(AuditStore(opened.database)), EvidenceStore(opened.database)
    listing = ListingStore(opened.database)
    submitter = _submitter(settings, catalog, opened, queues, submits)
    desk, board = _desk(catalog, opened, audit), _board(settings, catalog, opened)
    return Services(
        settings=settings.gateway,
        tracing=opened.tracing,
        catalog=catalog,
        auth=_authenticator(settings.gateway, opened),
        submitter=submitter,
        lookup=lookup,
        canceler=Canceler(CancelStore(opened.database), opened.bus, lookup),
        feed=Feed(reads, opened.bus.listener(), tracing=opened.tracing),
        links=links,
        objects=opened.blobs,
        desk=desk,
        audit=audit,
        lists=Lists(listing, evidence),
        retrier=Retrier(catalog, evidence, submitter),
        keyring=Keyring(KeyStore(opened.database), audit),
        tickets=Tickets(opened.bus),
        effective=settings,
        board=board,
        hub=Hub(sources(LiveJobs(listing, LiveStore(opened.database)), desk, board)),
        failures=Failures(FailureStore(opened.database), listing),
        accounts=Accounts(UsageStore(opened.database), settings.cost.currency),
        bulk=BulkDesk(BulkStore(opened.database), audit),
        statistics=Statistics(catalog, StatisticsStore(opened.database)),
        history=History(HistoryStore(opened.database), Depths(time.time)),
    )


def _submitter(
    settings: GatewaySettings, catalog: Shelf, opened: _Opened, queues: Queues, submits: SubmitStore
) -> Submitter:
    return Submitter(
        catalog=catalog,
        inputs=Inputs(opened.blobs, settings.s3.bucket, settings.web.allow),
        queues=queues,
        store=submits,
        publisher=opened.publisher,
        tracing=opened.tracing,
    )


def _desk(catalog: Shelf, opened: _Opened, audit: Audit) -> Desk:
    database = opened.database
    return Desk(catalog, OperationsStore(database), OverrideStore(database), PauseStore(database), audit)


def _authenticator(settings: Gateway, opened: _Opened) -> Authenticator:
    origins = Origins(settings.base_url, settings.origins)
    return Authenticator(KeyStore(opened.database), SessionStore(opened.database), origins)


def _board(settings: GatewaySettings, catalog: Shelf, opened: _Opened) -> Board:
    around = Around(
        catalog=catalog,
        crew=OperationsStore(opened.database),
        fleets=OverrideStore(opened.database),
        pauses=PauseStore(opened.database),
        redis=opened.bus,
        broker=opened.publisher,
        repaired=repairs_so_far,
        currency=settings.cost.currency,
    )
    return Board(OverviewStore(opened.database), around)


def _relay(settings: GatewaySettings, opened: _Opened, submits: SubmitStore) -> Relay:
    currency = settings.cost.currency
    return Relay(
        rows=RelayStore(opened.database, currency=currency, tracing=opened.tracing),
        redelivery=Redelivery(RedeliveryStore(opened.database), opened.publisher, settings.gateway),
        submits=submits,
        reads=ReadStore(opened.database, currency=currency),
        publisher=opened.publisher,
        bus=opened.bus,
    )


def _bulk(opened: _Opened, services: Services) -> BulkRunner:
    steps = BulkStore(opened.database)
    return BulkRunner(steps, services.retrier, services.canceler, services.audit, services.bulk.begun)


def _gauges(settings: Gateway, opened: _Opened, queues: Queues, services: Services) -> Gauges:
    rows, pauses = OperationsStore(opened.database), PauseStore(opened.database)
    seen = services.history.depths.note
    return Gauges(rows, opened.publisher, lambda: queues.names, pauses, settings, seen=seen)


async def _serve_admin(settings: Gateway, lifecycle: Lifecycle, opened: _Opened) -> None:
    checks = {
        "keys": Doorkeeper(settings.host, KeyStore(opened.database)).check,
        "postgresql": opened.database.ping,
        "rabbitmq": opened.publisher.ping,
        "redis": opened.bus.ping,
        "s3": opened.blobs.ping,
    }
    routes = [targets_route(TargetStore(opened.database))]
    await serve_admin(lifecycle, settings.admin_host, settings.admin_port, checks, routes)


async def _serve_public(settings: Gateway, lifecycle: Lifecycle, services: Services) -> None:
    """Take requests; on drain take no more, end the streams, finish what is under way."""
    listener = _listen(settings.host, settings.port)
    server = EmbeddedServer(_server_config(services))
    serving = lifecycle.spawn("http", partial(server.serve, [listener]))
    log.info("gateway.listening", host=settings.host, port=listener.getsockname()[1])
    await lifecycle.draining.wait()
    log.info("gateway.draining")
    services.feed.drain()
    services.hub.drain()
    server.should_exit = True
    await serving


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=2048)
    # Inherited by every accepted socket: a peer that vanished or stopped reading is dropped by the kernel,
    # while a `send` in user space would wait for it for ever.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_MS)
    return listener


def _server_config(services: Services) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(services),
        http="httptools",
        ws="websockets-sansio",
        ws_max_size=WS_MAX_BYTES,
        ws_ping_interval=WS_PING_S,
        ws_ping_timeout=2 * WS_PING_S,
        ws_per_message_deflate=False,  # events are small, and a compressor per socket is not
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=FINISH_S,
    )
