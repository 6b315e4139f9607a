"""Which fleet stands behind the port, and with what: beside `scaler.wiring` the only room with adapters.

The clouds' drivers take a second to import, so each is imported where its fleet is opened.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

from scaler.fleet.budget import HOUR_S, MINUTE_S, Budget
from scaler.fleet.dry_run import DryRunFleet
from scaler.fleet.ec2 import Ec2Fleet, Means
from scaler.fleet.inventory import Inventory
from scaler.fleet.kubernetes import KubernetesFleet, Terms
from scaler.fleet.process import ProcessFleet
from scaler.offerings import Market, Menu, Quote, Rules
from scaler.ports import Clock, Fleet
from scaler.settings import ScalerSection, ScalerSettings
from shared.errors import Misconfigured
from shared.lifecycle import Lifecycle
from shared.settings import PREFIX

WORKER = ("-m", "gpu_worker")

Fleets = Mapping[str, Fleet]


def is_dry(section: ScalerSection) -> bool:
    """Whether everything is decided and nothing done."""
    return section.dry_run or section.fleet == "dry_run"


@asynccontextmanager
async def open_fleets(
    settings: ScalerSettings, queues: Iterable[str], lifecycle: Lifecycle, clock: Clock
) -> AsyncIterator[Fleets]:
    """A fleet for each queue. Asks nothing of anybody yet.

    Raises:
        Misconfigured: What the kind of fleet needs is missing.
    """
    section = settings.scaler
    if section.fleet == "ec2_fleet":
        opened = _open_ec2(section, tuple(queues), clock)
    elif section.fleet == "kubernetes":
        opened = _open_kubernetes(section, tuple(queues), clock)
    elif section.fleet == "process" and not section.dry_run:
        opened = _open_processes(settings, tuple(queues), lifecycle)
    else:  # a dry run with processes sees none: to look at them is to adopt them
        opened = _open_none(tuple(queues))
    async with opened as fleets:
        yield {q: DryRunFleet(q, fleet) for q, fleet in fleets.items()} if is_dry(section) else fleets


def desired_of(fleets: Fleets) -> Mapping[str, Callable[[], Awaitable[int]]]:
    """By queue, who knows how many workers there are to be, where somebody else scales by it."""
    return {queue: fleet.desired for queue, fleet in fleets.items() if isinstance(fleet, KubernetesFleet)}


def menu_of(section: ScalerSection, queue: str) -> Menu:
    """What may be launched for one queue, with its prices."""
    offered = section.offerings_of(queue)
    return Menu(
        {name: Quote(**prices.model_dump()) for name, prices in offered.items()}, tuple(section.zones)
    )


def price_of(section: ScalerSection, queue: str) -> Decimal | None:
    """What one worker more of a queue costs an hour: on EC2 the cheapest of what is asked for first."""
    if section.fleet != "ec2_fleet":
        return section.of(queue).price_per_hour
    menu = menu_of(section, queue)
    first = [*menu.offerings(Market.SPOT), *menu.offerings(Market.ON_DEMAND)][:1]
    return next((Decimal(str(menu.per_hour(offering))) for offering in first), None)


@asynccontextmanager
async def _open_none(queues: Iterable[str]) -> AsyncIterator[Fleets]:
    yield {queue: DryRunFleet(queue) for queue in queues}


@asynccontextmanager
async def _open_ec2(section: ScalerSection, queues: tuple[str, ...], clock: Clock) -> AsyncIterator[Fleets]:
    from shared.adapters.ec2 import open_ec2  # noqa: PLC0415  see above

    rules = Rules(park_s=section.park_s, on_demand_after_s=section.on_demand_after_s)
    _check_apart("TEMPLATE", section.template, queues)
    launches, ends = _budgets(section, clock)
    async with open_ec2(
        owner=section.name, subnets=section.zones, region=section.region, endpoint=section.endpoint
    ) as cloud:
        inventory = Inventory(cloud, queues, clock)

        def fleet(queue: str) -> Fleet:
            menu, template = menu_of(section, queue), section.template.replace("{queue}", queue)
            means = Means(menu=menu, rules=rules, template=template, launches=launches, ends=ends)
            return Ec2Fleet(queue, cloud, inventory, means, clock)

        yield {queue: fleet(queue) for queue in queues}


@asynccontextmanager
async def _open_kubernetes(
    section: ScalerSection, queues: tuple[str, ...], clock: Clock
) -> AsyncIterator[Fleets]:
    from shared.adapters.kubernetes import open_kubernetes  # noqa: PLC0415  see above

    _check_apart("DEPLOYMENT", section.deployment, queues)
    launches, ends = _budgets(section, clock)
    async with open_kubernetes(section.namespace) as cluster:

        def fleet(queue: str) -> Fleet:
            deployment = section.deployment.replace("{queue}", queue)
            terms = Terms(
                deployment=deployment,
                told=section.keda,
                per_hour=section.of(queue).price_per_hour,
                launches=launches,
                ends=ends,
            )
            return KubernetesFleet(queue, cluster, terms, clock)

        yield {queue: fleet(queue) for queue in queues}


def _check_apart(setting: str, name: str, queues: Collection[str]) -> None:
    """Machines serve one queue: two fleets of the same would end each other's."""
    if len(queues) > 1 and "{queue}" not in name:
        raise Misconfigured(f"LEVERET_SCALER_{setting} needs {{queue}} in it: there are {len(queues)} queues")


def _budgets(section: ScalerSection, clock: Clock) -> tuple[Budget, Budget]:
    """For all queues together: the account has one bill."""
    launches = {MINUTE_S: section.launches_per_minute, HOUR_S: section.launches_per_hour}
    return (
        Budget("launches", launches, clock),
        Budget("terminations", {MINUTE_S: section.ends_per_minute}, clock),
    )


@asynccontextmanager
async def _open_processes(
    settings: ScalerSettings, queues: Iterable[str], lifecycle: Lifecycle
) -> AsyncIterator[Fleets]:
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
        per_hour=section.of(queue).price_per_hour,
    )


def state_dir(settings: ScalerSettings) -> Path:
    """Where the process fleets remember their workers: apart for each database, so that stacks never mix.

    Raises:
        Misconfigured: It can't be made, or is somebody else's, who could name any process for us to end.
    """
    folder = settings.scaler.state_dir or _default_state_dir(settings)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Misconfigured(f"LEVERET_SCALER_STATE_DIR: {error}") from error
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
