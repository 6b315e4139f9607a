"""The only room that knows which classes stand behind the ports. Resources close in reverse order.

On SIGTERM the loop ends first, then leadership is given up so that a standby may go on, and the fleets' own
workers drain last, while everything they need is theirs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack

import structlog

from scaler.clock import MonotonicClock
from scaler.desired import desired_route
from scaler.fleet.dry_run import AlwaysLeads, DryRunLedger
from scaler.fleet.wiring import desired_of, is_dry, open_fleets
from scaler.keeper import Keeper
from scaler.leader import Leader
from scaler.learning import Learning
from scaler.loop import Loop
from scaler.observer import Observer, Problems
from scaler.orders import StandingOrders
from scaler.ports import Ledger
from scaler.settings import ScalerSection, ScalerSettings
from scaler.snapshot import Config, Tier
from shared.adapters.broker import open_publisher
from shared.adapters.catalogs import read_once
from shared.adapters.store.fleet import FleetStore, open_leadership
from shared.adapters.store.overrides import OverrideStore
from shared.adapters.store.pool import open_database
from shared.catalog import CatalogError
from shared.errors import Misconfigured
from shared.lifecycle import Lifecycle
from shared.telemetry.admin import serve_admin

log = structlog.get_logger()

POOL_SIZE = 3
BOOT_PRIOR_S = {"process": 10.0}
"""What a launch is taken to last until one was seen: a process of this machine …"""
CLOUD_BOOT_PRIOR_S = 240.0
"""… and a machine that a cloud has to find, start and load with an image."""


async def serve(settings: ScalerSettings, lifecycle: Lifecycle) -> None:
    """Run the scaler until it is asked to stop."""
    queues = await _queues(settings)
    async with AsyncExitStack() as stack:
        clock = MonotonicClock()
        fleets = await stack.enter_async_context(open_fleets(settings, queues, lifecycle, clock))
        database = await stack.enter_async_context(
            open_database(settings.postgres, name="scaler", size=POOL_SIZE)
        )
        publisher = await stack.enter_async_context(open_publisher(settings.rabbitmq, name="scaler"))
        store, problems = FleetStore(database), Problems()
        ledger, leader = await _authority(settings, store, stack)
        configs = _configs(settings, queues)
        keepers = [
            Keeper(
                queue,
                fleet,
                configs[queue],
                ledger=ledger,
                leader=leader,
                clock=clock,
                problems=problems,
            )
            for queue, fleet in fleets.items()
        ]
        loop = Loop(
            keepers,
            Observer(store, publisher, problems, clock, Learning(configs)),
            leader,
            clock,
            interval_s=settings.scaler.interval_s,
            orders=StandingOrders(OverrideStore(database), problems),
        )
        checks = {"postgresql": store.ping, "rabbitmq": publisher.ping}
        routes = [desired_route(desired_of(fleets))]
        await serve_admin(lifecycle, settings.scaler.admin_host, settings.scaler.admin_port, checks, routes)
        most = {queue: settings.scaler.of(queue).max for queue in queues}
        log.info("scaler.ready", queues=queues, fleet=settings.scaler.fleet, max=most)
        await loop.run(lifecycle.draining)
        log.info("scaler.stopping")


async def _authority(
    settings: ScalerSettings, store: FleetStore, stack: AsyncExitStack
) -> tuple[Ledger, Leader]:
    """Where decisions are written and whether they count: a dry run writes none and takes no lock."""
    if is_dry(settings.scaler):
        return DryRunLedger(store), Leader(AlwaysLeads())
    return store, Leader(await stack.enter_async_context(open_leadership(settings.postgres)))


def config_of(section: ScalerSection, *, slots: int = 1) -> Config:
    """A fleet's limits and objectives from the settings."""
    return Config(
        min=section.min,
        max=section.max,
        wait_s={
            Tier.HIGH: section.wait_high_s,
            Tier.NORMAL: section.wait_normal_s,
            Tier.LOW: section.wait_low_s,
        },
        theta=section.theta,
        slots=slots,
        boot_prior_s=section.boot_prior_s or BOOT_PRIOR_S.get(section.fleet, CLOUD_BOOT_PRIOR_S),
        idle_s=section.idle_s,
        boot_s=section.boot_s,
        drain_s=section.drain_s,
        stale_s=max(60.0, 3 * section.interval_s),
    )


def _configs(settings: ScalerSettings, queues: Iterable[str]) -> Mapping[str, Config]:
    section = settings.scaler
    return {queue: config_of(section.of(queue), slots=_slots(section, queue)) for queue in queues}


def _slots(section: ScalerSection, queue: str) -> int:
    """What the queue's workers will read themselves; nonsense is theirs to refuse."""
    told = (dict(os.environ) | section.worker_variables(queue)).get("LEVERET_WORKER_SLOTS", "")
    return max(1, int(told)) if told.isdecimal() else 1


async def _queues(settings: ScalerSettings) -> tuple[str, ...]:
    try:
        queues = (await read_once(settings)).queues
    except CatalogError as error:
        raise Misconfigured(str(error)) from error
    for queue in sorted(settings.scaler.queues.keys() - set(queues)):
        log.warning("scaler.limits_without_queue", queue=queue)  # misspelt, or its last model has left
    return queues
