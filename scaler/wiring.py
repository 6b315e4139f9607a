"""The only room that knows which classes stand behind the ports. Reading it top to bottom is the tour.

Resources close in reverse order. On SIGTERM the loop ends first, then leadership is given up so that a
standby may go on, and the fleets' own workers drain last, while everything they need is theirs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from decimal import Decimal

import structlog

from scaler.clock import MonotonicClock
from scaler.desired import desired_route
from scaler.fleet.dry_run import AlwaysLeads, DryRunLedger
from scaler.fleet.wiring import Fleets, desired_of, is_dry, open_fleets, price_of
from scaler.keeper import Keeper
from scaler.leader import Leader
from scaler.learning import Learning
from scaler.loop import Loop
from scaler.observer import Observer, Problems
from scaler.orders import StandingOrders
from scaler.ports import Clock, Ledger
from scaler.settings import ScalerSection, ScalerSettings
from scaler.snapshot import Config, Tier
from shared.adapters.broker import Publisher, open_publisher
from shared.adapters.catalogs import read_once
from shared.adapters.store.fleet import FleetStore, open_leadership
from shared.adapters.store.overrides import OverrideStore
from shared.adapters.store.pool import Database, open_database
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
PATIENCE_S = 900.0
"""What a worker gets at least to leave, where no job of its models may take as long."""
GAP_S = 10.0
"""Looks less than this apart leave no gap in the fleet's history, however often there is one."""

Queues = Mapping[str, float]
"""The catalog's, each with the longest time in seconds that a job of its models may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """What has to be closed again."""

    clock: Clock
    fleets: Fleets
    database: Database
    publisher: Publisher

    @property
    def store(self) -> FleetStore:
        """What the scaler reads and writes."""
        return FleetStore(self.database)


@dataclass(frozen=True, slots=True)
class _Authority:
    """Where decisions are written, and whether they count."""

    ledger: Ledger
    leader: Leader


async def serve(settings: ScalerSettings, lifecycle: Lifecycle) -> None:
    """Run the scaler until it is asked to stop.

    Raises:
        Misconfigured: The catalog cannot be read, or what the kind of fleet needs is missing.
        Unavailable: PostgreSQL is away.
    """
    queues = await _queues(settings)
    async with AsyncExitStack() as stack:
        opened = await _open(settings, queues, lifecycle, stack)
        authority = await _authority(settings, opened.store, stack)
        loop = _loop(settings, queues, opened, authority)
        await _serve_admin(settings.scaler, lifecycle, opened)
        most = {queue: settings.scaler.of(queue).max for queue in queues}
        log.info("scaler.ready", queues=list(queues), fleet=settings.scaler.fleet, max=most)
        await loop.run(lifecycle.draining)
        log.info("scaler.stopping")


async def _open(
    settings: ScalerSettings, queues: Iterable[str], lifecycle: Lifecycle, stack: AsyncExitStack
) -> _Opened:
    """The fleets first: their workers drain last, while PostgreSQL is not needed any more."""
    clock = MonotonicClock()
    return _Opened(
        clock=clock,
        fleets=await stack.enter_async_context(open_fleets(settings, queues, lifecycle, clock)),
        database=await stack.enter_async_context(
            open_database(settings.postgres, name="scaler", size=POOL_SIZE)
        ),
        publisher=await stack.enter_async_context(open_publisher(settings.rabbitmq, name="scaler")),
    )


async def _authority(settings: ScalerSettings, store: FleetStore, stack: AsyncExitStack) -> _Authority:
    """A dry run writes nothing down and takes no lock."""
    if is_dry(settings.scaler):
        return _Authority(DryRunLedger(store), Leader(AlwaysLeads(), acts=False))
    return _Authority(store, Leader(await stack.enter_async_context(open_leadership(settings.postgres))))


def _loop(settings: ScalerSettings, queues: Queues, opened: _Opened, authority: _Authority) -> Loop:
    """Looks at all queues at once, and keeps each one's fleet."""
    configs, problems = _configs(settings, queues), Problems()
    observer = Observer(opened.store, opened.publisher, problems, opened.clock, Learning(configs))
    keepers = _keepers(configs, opened, authority, problems)
    orders = StandingOrders(OverrideStore(opened.database), problems)
    interval_s = settings.scaler.interval_s
    return Loop(keepers, observer, authority.leader, opened.clock, interval_s=interval_s, orders=orders)


def _keepers(
    configs: Mapping[str, Config], opened: _Opened, authority: _Authority, problems: Problems
) -> Sequence[Keeper]:
    return [
        Keeper(
            queue,
            fleet,
            configs[queue],
            ledger=authority.ledger,
            leader=authority.leader,
            clock=opened.clock,
            problems=problems,
        )
        for queue, fleet in opened.fleets.items()
    ]


async def _serve_admin(section: ScalerSection, lifecycle: Lifecycle, opened: _Opened) -> None:
    checks = {"postgresql": opened.store.ping, "rabbitmq": opened.publisher.ping}
    routes = [desired_route(desired_of(opened.fleets))]
    await serve_admin(lifecycle, section.admin_host, section.admin_port, checks, routes)


def config_of(
    section: ScalerSection, *, slots: int = 1, per_hour: Decimal | None = None, longest_s: float = 0.0
) -> Config:
    """A fleet's limits and objectives from the settings.

    Args:
        section: With the queue's own in place of the common ones.
        slots: Of a worker.
        per_hour: What one worker more costs.
        longest_s: What the slowest of its models may take for a job; the slots' jobs may run one by one.
    """
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
        per_hour=per_hour,
        boot_prior_s=section.boot_prior_s or BOOT_PRIOR_S.get(section.fleet, CLOUD_BOOT_PRIOR_S),
        idle_s=section.idle_s,
        boot_s=section.boot_s,
        drain_s=section.drain_s,
        patience_s=max(PATIENCE_S, slots * longest_s),
        stale_s=max(60.0, 3 * section.interval_s),
        gap_s=max(GAP_S, 3 * section.interval_s),
    )


def _configs(settings: ScalerSettings, queues: Queues) -> Mapping[str, Config]:
    section = settings.scaler
    return {
        queue: config_of(
            section.of(queue),
            slots=_slots(section, queue),
            per_hour=price_of(section, queue),
            longest_s=longest_s,
        )
        for queue, longest_s in queues.items()
    }


def _slots(section: ScalerSection, queue: str) -> int:
    """What the queue's workers will read themselves; nonsense is theirs to refuse."""
    told = (dict(os.environ) | section.worker_variables(queue)).get("LEVERET_WORKER_SLOTS", "")
    return max(1, int(told)) if told.isdecimal() else 1


async def _queues(settings: ScalerSettings) -> Queues:
    try:
        catalog = await read_once(settings)
    except CatalogError as error:
        raise Misconfigured(str(error)) from error
    for queue in sorted(settings.scaler.queues.keys() - set(catalog.queues)):
        log.warning("scaler.limits_without_queue", queue=queue)  # misspelt, or its last model has left
    return {q: max(m.timeout_s for m in catalog.models if m.queue == q) for q in catalog.queues}
