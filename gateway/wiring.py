"""The one place where the gateway's resources open and its parts meet. Reading it top to bottom is the tour.

The order is the order of need: what is opened later uses what is open already, so closing in reverse never
takes anything from under a user. PostgreSQL and the catalog must be there to start; RabbitMQ and Redis may be
away, since a job is accepted without them.
"""

from __future__ import annotations

import socket
from contextlib import AsyncExitStack

import structlog
import uvicorn

from gateway.app import create_app
from gateway.auth import Authenticator
from gateway.cancel import Canceler
from gateway.feed import Feed
from gateway.inputs import Inputs
from gateway.links import Links
from gateway.lookup import Lookup
from gateway.queues import Queues
from gateway.relay import Relay
from gateway.services import Services
from gateway.settings import GatewaySettings
from gateway.submit import Submitter
from shared.adapters.blobs import open_blobs
from shared.adapters.broker import open_publisher
from shared.adapters.bus import open_bus
from shared.adapters.store.cancels import CancelStore
from shared.adapters.store.keys import KeyStore
from shared.adapters.store.pool import open_database
from shared.adapters.store.reads import ReadStore
from shared.adapters.store.relay import RelayStore
from shared.adapters.store.submits import SubmitStore
from shared.catalog import load_catalog
from shared.lifecycle import Lifecycle
from shared.serving import EmbeddedServer
from shared.telemetry.admin import serve_admin

log = structlog.get_logger()

WS_MAX_BYTES = 64 * 1024
UNREAD_MS = 5000
"""How long the kernel keeps bytes for a peer that acknowledges none (or takes none) before it gives up."""
FINISH_S = 20


async def serve(settings: GatewaySettings, lifecycle: Lifecycle) -> None:
    """Run the gateway until it is asked to drain, then let go of everything in good order."""
    catalog = load_catalog(settings.catalog.path)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_database(settings.postgres, name="gateway"))
        blobs = await stack.enter_async_context(open_blobs(settings.s3))
        bus = await stack.enter_async_context(open_bus(settings.redis))
        publisher = await stack.enter_async_context(open_publisher(settings.rabbitmq, name="gateway"))
        reads = ReadStore(database)
        links = Links(settings.gateway.base_url, blobs, public_store=settings.s3.public)
        lookup = Lookup(reads, bus, links)
        queues = Queues(publisher, catalog.queues)
        submits = SubmitStore(database)
        relay = Relay(rows=RelayStore(database), submits=submits, reads=reads, publisher=publisher, bus=bus)
        services = Services(
            settings=settings.gateway,
            catalog=catalog,
            auth=Authenticator(KeyStore(database)),
            submitter=Submitter(
                catalog=catalog,
                inputs=Inputs(blobs, settings.s3.bucket),
                queues=queues,
                store=submits,
                publisher=publisher,
            ),
            lookup=lookup,
            canceler=Canceler(CancelStore(database), bus, lookup),
            feed=Feed(reads, bus.listener()),
            links=links,
            objects=blobs,
        )
        # A publish under way still needs the broker and the store, so it is settled before they close.
        stack.push_async_callback(services.submitter.settle)
        await queues.declare()
        lifecycle.spawn("queues", queues.run())
        lifecycle.spawn("feed", services.feed.run())
        lifecycle.spawn("relay", relay.run())
        checks = {"postgresql": reads.ping, "rabbitmq": publisher.ping, "redis": bus.ping, "s3": blobs.ping}
        await serve_admin(lifecycle, settings.gateway.admin_host, settings.gateway.admin_port, checks)
        await _serve_public(settings, lifecycle, services)
        lifecycle.cancel_side_tasks()


async def _serve_public(settings: GatewaySettings, lifecycle: Lifecycle, services: Services) -> None:
    """Take requests; on drain take no more, end the streams, finish what is under way."""
    listener = _listen(settings.gateway.host, settings.gateway.port)
    server = EmbeddedServer(_server_config(services))
    serving = lifecycle.spawn("http", server.serve([listener]))
    log.info("gateway.listening", host=settings.gateway.host, port=listener.getsockname()[1])
    await lifecycle.draining.wait()
    log.info("gateway.draining")
    services.feed.drain()
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
        ws_ping_interval=10,
        ws_ping_timeout=10,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=FINISH_S,
    )
