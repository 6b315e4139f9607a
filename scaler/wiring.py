"""The only room that knows which classes stand behind the ports. Resources close in reverse order.

On SIGTERM the loop ends first, then leadership is given up so that a standby may go on, and the fleets' own
workers drain last, while everything they need is theirs.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import structlog

from scaler.clock import MonotonicClock
from scaler.fleet.process import ProcessFleet
from scaler.keeper import Keeper
from scaler.leader import Leader
from scaler.learning import Learning
from scaler.loop import Loop
from scaler.observer import Observer, Problems
from scaler.settings import ScalerSection, ScalerSettings
from scaler.snapshot import Config, Tier
from shared.adapters.broker import open_publisher
from shared.adapters.catalogs import read_once
from shared.adapters.store.fleet import FleetStore, open_leadership
from shared.adapters.store.pool import open_database
from shared.catalog import CatalogError
from shared.errors import Misconfigured
from shared.lifecycle import Lifecycle
from shared.settings import PREFIX
from shared.telemetry.admin import serve_admin

log = structlog.get_logger()

WORKER = ("-m", "gpu_worker")
POOL_SIZE = 3
BOOT_PRIOR_S = {"process": 10.0}
"""What a launch is taken to last until one was seen: a process of this machine …"""
CLOUD_BOOT_PRIOR_S = 240.0
"""… and a machine that a cloud has to find, start and load with an image."""


async def serve(settings: ScalerSettings, lifecycle: Lifecycle) -> None:
    """Run the scaler until it is asked to stop."""
    queues = await _queues(settings)
    async with AsyncExitStack() as stack:
        fleets = await stack.enter_async_context(_open_fleets(settings, queues, lifecycle))
        database = await stack.enter_async_context(
            open_database(settings.postgres, name="scaler", size=POOL_SIZE)
        )
        publisher = await stack.enter_async_context(open_publisher(settings.rabbitmq, name="scaler"))
        lock = await stack.enter_async_context(open_leadership(settings.postgres))
        store, leader, problems, clock = FleetStore(database), Leader(lock), Problems(), MonotonicClock()
        configs = _configs(settings, queues)
        keepers = [
            Keeper(
                queue,
                fleet,
                configs[queue],
                ledger=store,
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
        )
        checks = {"postgresql": store.ping, "rabbitmq": publisher.ping}
        await serve_admin(lifecycle, settings.scaler.admin_host, settings.scaler.admin_port, checks)
        most = {queue: settings.scaler.of(queue).max for queue in queues}
        log.info("scaler.ready", queues=queues, fleet=settings.scaler.fleet, max=most)
        await loop.run(lifecycle.draining)
        log.info("scaler.stopping")


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


def state_dir(settings: ScalerSettings) -> Path:
    """Where the process fleets remember their workers: apart for each database, so that stacks never mix.

    Raises:
        Misconfigured: Somebody else made it, who could name any process there for us to end.
    """
    folder = settings.scaler.state_dir or _default_state_dir(settings)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise Misconfigured(f"{folder} belongs to another user; set LEVERET_SCALER_STATE_DIR")
    return folder


def _default_state_dir(settings: ScalerSettings) -> Path:
    database = hashlib.sha256(settings.postgres.dsn.get_secret_value().encode()).hexdigest()[:10]
    return Path(tempfile.gettempdir()) / f"leveret-scaler-{os.getuid()}-{database}"


def worker_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What a worker inherits: everything but the scaler's own section."""
    own = f"{PREFIX}SCALER_"
    return {name: value for name, value in environment.items() if not name.startswith(own)}


async def _queues(settings: ScalerSettings) -> tuple[str, ...]:
    try:
        queues = (await read_once(settings)).queues
    except CatalogError as error:
        raise Misconfigured(str(error)) from error
    for queue in sorted(settings.scaler.queues.keys() - set(queues)):
        log.warning("scaler.limits_without_queue", queue=queue)  # misspelt, or its last model has left
    return queues


@asynccontextmanager
async def _open_fleets(
    settings: ScalerSettings, queues: Iterable[str], lifecycle: Lifecycle
) -> AsyncIterator[Mapping[str, ProcessFleet]]:
    home = state_dir(settings)
    fleets = {queue: _process_fleet(queue, settings.scaler, home) for queue in queues}
    yield fleets
    # Only a stop that was asked for: when a scaler fails, its workers go on and its successor adopts them.
    if lifecycle.draining.is_set() and not settings.scaler.keep_workers:
        async with asyncio.TaskGroup() as closing:
            for fleet in fleets.values():
                closing.create_task(fleet.close(within_s=settings.scaler.stop_s))


def _process_fleet(queue: str, section: ScalerSection, home: Path) -> ProcessFleet:
    return ProcessFleet(
        queue,
        command=[sys.executable, *WORKER],
        environment=worker_environment(os.environ) | section.worker_variables(queue),
        log_dir=section.log_dir or home / "logs",
        state_file=home / f"{queue}.json",
    )
