"""The names that spans and their attributes have, where two rooms must agree: OpenTelemetry's for messaging.

The message's creation context is the span `create`, whose context is kept with the row: every copy of the
message carries it, whenever and by whomever it is sent. Sending and processing have it as parent and link.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from shared.telemetry.tracing import Attributes, Value

INSERT: Final[Attributes] = {
    "db.system.name": "postgresql",
    "db.operation.name": "INSERT",
    "db.collection.name": "jobs",
}
UPDATE: Final[Attributes] = {**INSERT, "db.operation.name": "UPDATE"}
PUBLISH_EVENT: Final[Attributes] = {"db.system.name": "redis", "db.operation.name": "EVALSHA"}


def destination(queue: str) -> str:
    """What the broker calls a queue of the catalog; the adapters' `topology` has the same rule."""
    return f"leveret.{queue}"


def messaging(operation: str, type_: str, destination: str, job_id: UUID) -> dict[str, Value]:
    """Of a span about a message.

    Args:
        operation: As RabbitMQ says it (`publish`), or ourselves.
        type_: OpenTelemetry's: `create`, `send` or `process`.
        destination: The queue's name in the broker.
        job_id: All messages of a job are one conversation.
    """
    return {
        "messaging.system": "rabbitmq",
        "messaging.operation.name": operation,
        "messaging.operation.type": type_,
        "messaging.destination.name": destination,
        "messaging.message.conversation_id": str(job_id),
        "leveret.job.id": str(job_id),
    }


def attempt(  # its parts are columns of different rows
    *, job_id: UUID, attempt: int, fence: int, model: str, tenant: str
) -> dict[str, Value]:
    """Which attempt at which job: names and numbers, nothing that the job brought along.

    Args:
        job_id: The job.
        attempt: 1, 2, …
        fence: Of this attempt alone.
        model: As ``name@version``.
        tenant: Whose job it is.
    """
    return {
        "leveret.job.id": str(job_id),
        "leveret.job.attempt": attempt,
        "leveret.job.fence": fence,
        "leveret.model": model,
        "leveret.tenant": tenant,
    }
