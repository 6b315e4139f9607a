"""The broker's queues: their names and arguments.

The gateway declares them and workers wait until they are there, so that a queue that vanished with its
messages is noticed by the one process that can send them again.

Queues are durable classic ones with ``x-max-priority=10``: quorum queues have no 0-10 priorities below
RabbitMQ 4.3. A queue that is there already with other arguments is refused by name.
"""

from __future__ import annotations

from typing import Any

from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed
from pamqp.commands import Queue

from shared.errors import Misconfigured
from shared.jobs import MAX_PRIORITY

DEAD_LETTERS = "leveret.dead"


def queue_name(queue: str) -> str:
    """The broker's name of a catalog queue."""
    return f"leveret.{queue}"


async def declare(channel: AbstractChannel, name: str, *, timeout_s: float) -> None:
    """Make sure the queue is there, with our arguments.

    Args:
        channel: Spent when the queue is refused: the broker closes it.
        name: The broker's name.
        timeout_s: Of the call.

    Raises:
        Misconfigured: A queue of this name has other arguments; says how to replace it.
    """
    arguments: dict[str, Any] = {"x-overflow": "reject-publish"}
    if name != DEAD_LETTERS:
        arguments["x-max-priority"] = MAX_PRIORITY
    try:
        await channel.queue_declare(name, durable=True, arguments=arguments, timeout=timeout_s)
    except ChannelPreconditionFailed as error:
        raise Misconfigured(
            f"the queue {name!r} exists with other arguments ({error}); once it is empty, delete it with "
            f"`rabbitmqctl delete_queue {name}` and it is made anew"
        ) from error


async def look_at(channel: AbstractChannel, name: str, *, timeout_s: float) -> Queue.DeclareOk | None:
    """The queue as the broker itself counts it; None when it has none, and `channel` is then spent."""
    try:
        return await channel.queue_declare(name, passive=True, timeout=timeout_s)
    except ChannelNotFoundEntity:
        return None
