"""`leveret queues` and `leveret workers`: what waits, who works on it, and sending somebody away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from gateway.client.cli.exits import OK, printable
from gateway.client.cli.session import NO_OPTIONS, Common, print_json
from gateway.client.cli.units import MISSING, count, number, percent, span, taken

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

workers = App(
    name="workers",
    help="Show who is at work on which jobs, or ask one worker to leave. For operators.",
    help_format="plaintext",
    result_action="return_value",
)

queues = App(
    name="queues",
    help="Show what waits in each queue, and who works on it; hold a queue, or let it go on. For operators.",
    help_format="plaintext",
    result_action="return_value",
)

_CLASSES = ("high", "normal", "low")
_CREW = ("ready", "starting", "draining")


@queues.default
async def list_queues(common: Common = NO_OPTIONS) -> int:
    """Show what waits in each queue, and who works on it. For operators.

    Args:
        common: Options of every command.
    """
    async with common.client() as client:
        found = await client.queues()
    if common.json:
        print_json({"queues": found})
    else:
        _print_queues(found)
    return OK


@queues.command
async def pause(queue: str, /, common: Common = NO_OPTIONS) -> int:
    """Hold a queue: nothing of it is started, what runs goes on, what comes waits.

    Args:
        queue: Its name.
        common: Options of every command.
    """
    async with common.client() as client:
        return _print_held(await client.pause_queue(queue), common)


@queues.command
async def resume(queue: str, /, common: Common = NO_OPTIONS) -> int:
    """Let a queue go on, with what has waited meanwhile.

    Args:
        queue: Its name.
        common: Options of every command.
    """
    async with common.client() as client:
        return _print_held(await client.resume_queue(queue), common)


@workers.default
async def list_workers(
    *, queue: Annotated[str | None, Parameter(name=["--queue", "-q"])] = None, common: Common = NO_OPTIONS
) -> int:
    """Show who is there, what they run, and when they were heard of last.

    Args:
        queue: Only those of this queue.
        common: Options of every command.
    """
    async with common.client() as client:
        found = await client.workers(queue)
    if common.json:
        print_json({"workers": found})
    else:
        _print_workers(found)
    return OK


@workers.command
async def drain(worker_id: str, /, common: Common = NO_OPTIONS) -> int:
    """Ask a worker to leave: it takes no further job, finishes what it holds, and ends.

    Args:
        worker_id: The worker, as `leveret workers` names it.
        common: Options of every command.
    """
    async with common.client() as client:
        found = await client.drain(worker_id)
    if common.json:
        print_json(found)
    else:
        _print_drained(found)
    return OK


def _print_queues(found: Sequence[Mapping[str, Any]]) -> None:
    from gateway.client.cli.show import console, table  # noqa: PLC0415  only for a terminal

    shown = table(
        "queue", "waiting", *_CLASSES, "oldest", "running", "ended/min", "done in", "workers", "scaler"
    )
    for queue in found:
        shown.add_row(
            printable(queue["queue"]) + (" (paused)" if queue.get("paused") else ""),
            str(queue["waiting"]),
            *(str(queue["classes"][name]["waiting"]) for name in _CLASSES),
            span(queue["oldest_s"]),
            str(queue["running"]),
            number(queue["ended_per_min"]),
            span(queue["eta_s"]),
            crew_words(queue["workers"]),
            printable(limit_words(queue["scaler"])),
        )
    console().print(shown, markup=False)


def _print_held(queue: Mapping[str, Any], common: Common) -> int:
    from gateway.client.cli.show import console  # noqa: PLC0415  only for a terminal

    if common.json:
        print_json(queue)
        return OK
    held = "is paused: nothing of it is started, what runs goes on" if queue["paused"] else "goes on"
    waiting = count(queue["waiting"], "job")
    console().print(printable(f"queue {queue['queue']} {held}; {waiting} waiting"), markup=False)
    return OK


def crew_words(crew: Mapping[str, int]) -> str:
    """How many are there, and doing what: `2 ready (1 busy), 1 starting`."""
    busy = f" ({crew['busy']} busy)" if crew["busy"] else ""
    parts = [f"{crew[name]} {name}{busy if name == 'ready' else ''}" for name in _CREW if crew[name]]
    return ", ".join(parts) or "none"


def limit_words(limits: Mapping[str, Any]) -> str:
    """What an operator set: `min 2, max 8, paused`; a dash where it is all as the scaler's settings say."""
    parts = [f"{name} {limits[name]}" for name in ("min", "max") if limits[name] is not None]
    return ", ".join([*parts, "paused"] if limits["paused"] else parts) or MISSING


def _print_workers(found: Sequence[Mapping[str, Any]]) -> None:
    from gateway.client.cli.show import console, table  # noqa: PLC0415  only for a terminal

    shown = table("worker", "queue", "state", "busy", "device", "models", "host", "heard", "jobs")
    for worker in found:
        shown.add_row(
            printable(worker["id"]),
            printable(worker["queue"]),
            _state(worker),
            f"{worker['busy']}/{worker['slots']}",
            printable(_devices(worker)),
            printable(_models(worker)),
            printable(worker["host"]),
            f"{span(worker['heartbeat_s'])} ago",
            printable(", ".join(_job(job) for job in worker["jobs"])),
        )
    console().print(shown, markup=False)


def _state(worker: Mapping[str, Any]) -> str:
    if worker["silent"]:
        return "silent"
    return "draining" if worker["draining"] else str(worker["state"])


def _devices(worker: Mapping[str, Any]) -> str:
    """`cuda0 82 % 18.2/22.5 GiB`, of a silent one its kind only: nobody knows what they do."""
    devices = None if worker["silent"] else worker.get("devices")
    if not devices:
        return str(worker["device"])
    return ", ".join(
        f"{each['device']} {percent(each['utilisation'])} {taken(each['memory_used'], each['memory_total'])}"
        for each in devices
    )


def _models(worker: Mapping[str, Any]) -> str:
    models = None if worker["silent"] else worker.get("models")
    return MISSING if models is None else ", ".join(f"{each['name']}@{each['version']}" for each in models)


def _job(job: Mapping[str, Any]) -> str:
    return f"{job['id']} {job['model']}@{job['model_version']} for {span(job['running_s'])}"


def _print_drained(worker: Mapping[str, Any]) -> None:
    from gateway.client.cli.show import console  # noqa: PLC0415  only for a terminal

    held = len(worker["jobs"])
    leaves = f", finishes {count(held, 'job')} and leaves" if held else " and leaves"
    console().print(
        printable(f"worker {worker['id']} was asked to drain: it takes no further job{leaves}"), markup=False
    )
